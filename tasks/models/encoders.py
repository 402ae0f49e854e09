"""Encoders, as BERT and its kinds: models that read a text from both sides, and classify but do not write."""

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES


def is_encoder(shape: PreTrainedConfig) -> bool:
    """Whether a model of this configuration fills in masked tokens instead of continuing a text.

    BERT set up as a decoder is none, and nor are models with an encoder and a decoder, as BART.
    """
    is_decoder = getattr(shape, "is_decoder", False) or getattr(shape, "is_encoder_decoder", False)
    return shape.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder


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
