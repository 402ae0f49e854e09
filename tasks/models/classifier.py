"""A base model with a head of as many outputs as there are labels, and which of its weights are trained.

The base is a causal model, whose head reads the last token, or an encoder as BERT, whose head may have layers
of its own and reads the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, TaskType
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tasks.config import ClassifyConfig
from tasks.data.token_files import id_count
from tasks.errors import StageError
from tasks.models.adapters import add_lora
from tasks.models.encoders import is_encoder
from tasks.models.kinds import require_one_stack
from tasks.models.optimizers import decoder_blocks


@dataclass(frozen=True)
class Head:
    """A kind of head that Transformers puts on a backbone."""

    auto: Any
    """Transformers' class that loads a folder with it."""
    lora: TaskType
    """What PEFT calls the task."""
    problem: str | None = None
    """How Transformers computes the loss, where the class leaves that open."""


LABEL = Head(AutoModelForSequenceClassification, TaskType.SEQ_CLS, "single_label_classification")
LABELS = Head(AutoModelForSequenceClassification, TaskType.SEQ_CLS, "multi_label_classification")
TAGS = Head(AutoModelForTokenClassification, TaskType.TOKEN_CLS)

POOLER = "pooler"  # of an encoder's backbone: a layer on the first token, which classification alone needs


def new_classifier(
    folder: Path, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, seed: int, head: Head = LABEL
) -> PreTrainedModel:
    """The model in `folder` in float32, its head replaced by one of that kind, whose weights `seed` draws.

    The head starts with weights of 1/width, at which any backbone's first guess is about even: with the
    usual 0.02 GPT-2's hidden states, hundreds long, begin at three times the loss of guessing. What an
    encoder's head has before its last layer is kept where the folder has it, and else drawn as its
    configuration says.

    Raises StageError when the architecture has no classifier, when anything but the head is not in the
    folder, and for a tokenizer of another model.
    """
    require_one_stack(folder, "classify")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a head is missing: that is why we are here
    try:
        model, found = head.auto.from_pretrained(
            folder,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
            problem_type=head.problem,
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
    heads = heads_of(model)
    drawn = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    lacking = sorted(key for key in drawn if not key.startswith(tuple(f"{name}." for name in heads)))
    backbone = f"{model.base_model_prefix}."
    unused = sorted(
        key
        for key in found["unexpected_keys"]
        if key.startswith(backbone) and not key.startswith(f"{backbone}{POOLER}.")
    )
    if lacking or unused:
        raise StageError(
            f"the base's weights are not those of {type(model).__name__}: {(lacking + unused)[0]} is "
            f"{'missing' if lacking else 'unknown to it'}; only the head may be new. Give a causal model or "
            "an encoder that was saved by Transformers"
        )
    known = model.get_input_embeddings().num_embeddings
    if (ids := id_count(tokenizer)) > known:
        raise StageError(
            f"the base knows {known} tokens, its tokenizer has {ids}: it is another model's. Give the base "
            "with its own tokenizer"
        )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    _draw(model, heads, drawn, len(labels), torch.Generator().manual_seed(seed))
    return model


@torch.no_grad()
def _draw(
    model: PreTrainedModel, heads: Sequence[str], drawn: set[str], labels: int, generator: torch.Generator
) -> None:
    """Draw the head's last layer, and those before it that the folder does not have. Biases start at 0."""
    layers = [
        (f"{name}.{inner}".rstrip("."), layer)
        for name in heads
        for inner, layer in model.get_submodule(name).named_modules()
        if isinstance(layer, nn.Linear)
    ]
    last = next(layer for _, layer in reversed(layers) if layer.out_features == labels)
    for name, layer in layers:
        if layer is last or f"{name}.weight" in drawn:
            std = 1 / layer.in_features if layer is last else model.config.get_text_config().initializer_range
            layer.weight.normal_(std=std, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()


def heads_of(model: PreTrainedModel) -> tuple[str, ...]:
    """The names of the modules that make the classifier's head, in the order in which they are called.

    They are what the model has beside its backbone, and an encoder's pooler, which stands within it. Raises
    StageError when there is none, and when a causal model has several.
    """
    beside = [
        name
        for name, module in model.named_children()
        if module is not model.base_model and any(True for _ in module.parameters())
    ]
    if not beside or (len(beside) > 1 and not is_encoder(model.config)):
        raise StageError(
            f"{type(model).__name__} has {', '.join(beside) or 'nothing'} beside its backbone; expected one "
            "head. Choose another base"
        )
    pooler = getattr(model.base_model, POOLER, None)
    return (*([f"{model.base_model_prefix}.{POOLER}"] if pooler is not None else ()), *beside)


def last_parts(model: PreTrainedModel) -> tuple[str, ...]:
    """The names of the last block, of the final norm behind the blocks, and of what makes the head.

    The blocks of most encoders end with a norm, so that there is none behind them. Raises StageError when a
    causal model has no such norm.
    """
    blocks, members = decoder_blocks(model)
    parent, _, own = blocks.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    behind = siblings[[name for name, _ in siblings].index(own) + 1 :]
    norms = [name for name, module in behind if "norm" in type(module).__name__.casefold()]
    if len(norms) != 1 and not (is_encoder(model.config) and not norms):
        raise StageError(
            f"{type(model).__name__} has {', '.join(norms) or 'no norm'} behind its blocks; expected one "
            "final norm. Set classify.tune to full or lora"
        )
    return (f"{blocks}.{len(members) - 1}", *(f"{parent}.{norm}" for norm in norms), *heads_of(model))


def with_trained_weights(
    config: ClassifyConfig, model: PreTrainedModel, head: Head = LABEL
) -> PreTrainedModel | PeftModel:
    """The model with all weights frozen but those that `config` trains, adapters put on if it asks for them.

    Raises StageError when those are not found.
    """
    if config.tune == "last-block":
        model.requires_grad_(False)
        for part in last_parts(model):
            model.get_submodule(part).requires_grad_(True)
    if config.tune == "lora":
        whole = [name.rpartition(".")[2] for name in heads_of(model)]
        return add_lora(config, model, head.lora, whole)
    return model


def classifier_output(model: PreTrainedModel | PeftModel, batch: Mapping[str, Tensor]) -> Any:
    """What the model gives of a batch; a causal one is asked for no cache, of which encoders know nothing."""
    return model(**batch) if is_encoder(model.config) else model(**batch, use_cache=False)


def load_classifier(folder: Path, head: Head = LABEL) -> PreTrainedModel:
    """A classifier that the stage wrote, in float32 on the CPU."""
    return head.auto.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
