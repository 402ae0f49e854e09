"""Encoders, as BERT and its kinds: models that read a text from both sides, and classify but do not write."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from tasks.errors import StageError


def is_encoder(shape: PreTrainedConfig) -> bool:
    """Whether a model of this configuration fills in masked tokens instead of continuing a text.

    BERT set up as a decoder is none, and nor are models with an encoder and a decoder, as BART.
    """
    is_decoder = getattr(shape, "is_decoder", False) or getattr(shape, "is_encoder_decoder", False)
    return shape.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder


def encoder_kind(folder: Path) -> str | None:
    """What Transformers calls the kind of encoder that is in the folder; None where another model is.

    Raises OSError or ValueError when the configuration cannot be read.
    """
    shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return shape.model_type if is_encoder(shape) else None


def require_writer(folder: Path) -> None:
    """Raise StageError for an encoder where a model is to write.

    Transformers would load it as a causal model all the same, and each token would see those after it.
    """
    if (folder / "config.json").is_file() and (kind := encoder_kind(folder)):  # adapters alone have none
        raise StageError(
            f"the model is an encoder ({kind}), which reads a text from both sides and cannot write. Name a "
            "causal model, or give labelled rows: an encoder is a base for classify"
        )


def longest_read(shape: PreTrainedConfig) -> float:
    """The longest text in tokens that an encoder of this configuration has positions for.

    RoBERTa's kind counts positions from behind the padding's: of its 514 a text may take 512.
    """
    with torch.device("meta"):
        model = AutoModel.from_config(shape, trust_remote_code=False)
    positions = shape.max_position_embeddings
    for name, module in model.named_modules():
        is_learned = isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
        if is_learned and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions
