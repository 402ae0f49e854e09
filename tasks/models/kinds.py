"""What kind of model a folder holds: causal, an encoder, or an encoder-decoder.

A causal model continues a text. An encoder (BERT) reads one from both sides and does not write. An
encoder-decoder (T5, BART) reads a source from both sides and writes a target: sequence to sequence.
"""

from pathlib import Path
from typing import Literal

from transformers import AutoConfig, PreTrainedConfig

from tasks.errors import StageError
from tasks.models.encoders import is_encoder

ModelKind = Literal["causal", "encoder", "encoder-decoder"]
CONFIG = "config.json"


def kind_of(shape: PreTrainedConfig) -> ModelKind:
    """Of a model with this configuration."""
    if getattr(shape, "is_encoder_decoder", False):
        return "encoder-decoder"
    return "encoder" if is_encoder(shape) else "causal"


def kind_in(folder: Path) -> ModelKind:
    """Of the whole model in the folder. Raises OSError or ValueError when it cannot be read."""
    return kind_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def is_seq2seq(folder: Path, base: Path | None = None) -> bool:
    """Whether the folder holds an encoder-decoder, or adapters of the one in `base`."""
    own = folder if (folder / CONFIG).is_file() or base is None else base
    return (own / CONFIG).is_file() and kind_in(own) == "encoder-decoder"


def require_writer(folder: Path) -> None:
    """Raise StageError for an encoder where a model is to write.

    Transformers would load it as a causal model all the same, and each token would see those after it.
    """
    if (folder / CONFIG).is_file() and kind_in(folder) == "encoder":  # adapters alone have none
        raise StageError(
            f"the model is an encoder ({_name(folder)}), which reads a text from both sides and cannot "
            "write. Name a causal model, or give labelled rows: an encoder is a base for classify"
        )


def require_causal(folder: Path, what: str) -> None:
    """Raise StageError for a model that is not causal; `what` says what needs one: `dpo`."""
    require_writer(folder)
    require_one_stack(folder, what)


def require_one_stack(folder: Path, what: str) -> None:
    """Raise StageError for an encoder-decoder, which `what` cannot train or use."""
    if is_seq2seq(folder):
        raise StageError(not_causal(f"the model is an encoder-decoder ({_name(folder)})", what))


def not_causal(model: str, what: str) -> str:
    """What a person is told of an encoder-decoder where a causal model is needed."""
    return (
        f"{model}, which writes a target beside a source: {what} needs a model that continues a text. Name a "
        "causal model; an encoder-decoder is trained by finetune, and answers through generate, "
        "export --to folder and mlflow.pyfunc"
    )


def _name(folder: Path) -> str:
    """What Transformers calls the architecture in the folder."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
