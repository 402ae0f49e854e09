"""A causal model with a head of as many outputs as there are labels, and which of its weights are trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel, TaskType
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from tasks.config import ClassifyConfig
from tasks.data.token_files import id_count
from tasks.errors import StageError
from tasks.models.adapters import add_lora
from tasks.models.optimizers import decoder_blocks


def new_classifier(
    folder: Path, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """The causal model in `folder` in float32, its head replaced by one whose weights `seed` draws.

    The head starts with weights of 1/width, at which any backbone's first guess is about even: with the
    usual 0.02 GPT-2's hidden states, hundreds long, begin at three times the loss of guessing.

    Raises StageError when the architecture has no classifier, when anything but the head is not in the
    folder, and for a tokenizer of another model.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a head is missing: that is why we are here
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StageError(f"the base cannot be made a classifier: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
    name, head = head_of(model)
    drawn = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    lacking = sorted(key for key in drawn if not key.startswith(f"{name}."))
    unused = sorted(key for key in found["unexpected_keys"] if key.startswith(f"{model.base_model_prefix}."))
    if lacking or unused:
        raise StageError(
            f"the base's weights are not those of {type(model).__name__}: {(lacking + unused)[0]} is "
            f"{'missing' if lacking else 'unknown to it'}; only the head may be new. Give a causal model "
            "that was saved by Transformers"
        )
    known = model.get_input_embeddings().num_embeddings
    if (ids := id_count(tokenizer)) > known:
        raise StageError(
            f"the base knows {known} tokens, its tokenizer has {ids}: it is another model's. Give the base "
            "with its own tokenizer"
        )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=1 / parameter.shape[-1], generator=generator)
    return model


def head_of(model: PreTrainedModel) -> tuple[str, nn.Module]:
    """The name and module of the classifier's head: what the model has beside its backbone.

    Raises StageError when that is not one module.
    """
    beside = [(name, module) for name, module in model.named_children() if module is not model.base_model]
    if len(beside) != 1:
        names = ", ".join(name for name, _ in beside) or "nothing"
        raise StageError(
            f"{type(model).__name__} has {names} beside its backbone; expected one head. Choose another base"
        )
    return beside[0]


def last_parts(model: PreTrainedModel) -> tuple[str, str, str]:
    """The names of the last block, of the final norm behind the blocks, and of the head.

    Raises StageError when there is no such norm.
    """
    blocks, members = decoder_blocks(model)
    parent, _, own = blocks.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    behind = siblings[[name for name, _ in siblings].index(own) + 1 :]
    norms = [name for name, module in behind if "norm" in type(module).__name__.casefold()]
    if len(norms) != 1:
        raise StageError(
            f"{type(model).__name__} has {', '.join(norms) or 'no norm'} behind its blocks; expected one "
            "final norm. Set classify.tune to full or lora"
        )
    return f"{blocks}.{len(members) - 1}", f"{parent}.{norms[0]}", head_of(model)[0]


def with_trained_weights(config: ClassifyConfig, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
    """The model with all weights frozen but those that `config` trains, adapters put on if it asks for them.

    Raises StageError when those are not found.
    """
    if config.tune == "last-block":
        model.requires_grad_(False)
        for part in last_parts(model):
            model.get_submodule(part).requires_grad_(True)
    return add_lora(config, model, TaskType.SEQ_CLS)


def load_classifier(folder: Path) -> PreTrainedModel:
    """A classifier that the stage wrote, in float32 on the CPU."""
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
