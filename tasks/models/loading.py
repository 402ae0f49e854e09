"""Loading language models that write: from a folder of ours or of anyone's, running no code of theirs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from tasks.errors import StageError
from tasks.models.folders import ADAPTER
from tasks.models.kinds import is_seq2seq, require_causal, require_writer

logging.disable_progress_bar()  # the stage reports its own progress


@contextmanager
def retired_names() -> Iterator[None]:
    """Take no notice of the one name that PEFT 0.21 and TRL 1.16 ask for and Transformers 5.24 retires.

    It works until Transformers 6, and only they can ask for another.
    """
    with warnings.catch_warnings():
        retired = "`is_gradient_checkpointing` is deprecated"
        warnings.filterwarnings("ignore", message=retired, category=FutureWarning)
        yield


def load_model(folder: Path, base: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in float32, from safetensors only, and its tokenizer.

    A folder of adapters alone is merged into the model in `base`, which it was trained on. Raises StageError
    when that is not given.
    """
    tokenizer = load_tokenizer(folder)
    if not (folder / ADAPTER).exists():
        return load_writer(folder), tokenizer
    if base is None:
        raise StageError(f"{folder} holds adapters alone: the model that they were trained on is needed too")
    return merged(load_writer(base), folder), tokenizer


def use_fused_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, in place, with GPT-2's GELU as the one operation that torch has for its eight."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_causal(folder: Path | str, **options: object) -> PreTrainedModel:
    """A causal model in float32 on the CPU; `options` go to `from_pretrained`.

    Raises StageError for an encoder and for an encoder-decoder.
    """
    require_causal(Path(folder), "this")
    return _load(AutoModelForCausalLM, folder, **options)


def load_writer(folder: Path | str, **options: object) -> PreTrainedModel:
    """As `load_causal`, of a causal model or an encoder-decoder. Raises StageError for an encoder."""
    require_writer(Path(folder))
    return _load(
        AutoModelForSeq2SeqLM if is_seq2seq(Path(folder)) else AutoModelForCausalLM, folder, **options
    )


def _load(kind: type, folder: Path | str, **options: object) -> PreTrainedModel:
    return kind.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **options
    )


def merged(model: PreTrainedModel, adapters: Path) -> PreTrainedModel:
    """The model with adapters merged into its weights, in place."""
    with retired_names():
        return PeftModel.from_pretrained(model, adapters).merge_and_unload()
