"""Encoder-decoders: what a decoder reads while it is trained, and small ones with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

Seq2SeqName = Literal["t5", "bart"]
CONTEXT = 1024  # positions of a BART; T5 counts distances, and has no longest text


@dataclass(frozen=True)
class Size:
    """Layers and heads of each of the two stacks, and their width."""

    layers: int
    heads: int
    width: int


SIZES = {"tiny": Size(2, 4, 128), "small": Size(4, 8, 256), "base": Size(6, 8, 512)}
"""base: T5-small's and BART-base's layers, at T5-small's width."""


def decoder_inputs(model: PreTrainedModel, labels: Tensor) -> Tensor:
    """What the decoder reads to learn `labels` (batch, time): its first token, then each label before."""
    return model.prepare_decoder_input_ids_from_labels(labels)


def target_logits(model: nn.Module, own: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits (batch, target time, vocabulary) of each target token, given those before and the source.

    `model` is `own`, or what wraps it. Of the labels the encoder is given nothing.
    """
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=decoder_inputs(own, batch["labels"]),
        use_cache=False,
    ).logits


def random_seq2seq(
    name: Seq2SeqName, size: str, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """An encoder-decoder in float32 whose weights `seed` draws, of the tokenizer's vocabulary."""
    shape, ends = (
        SIZES[size],
        {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id},
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if name == "t5":  # of version 1.1: a gated MLP, and a head of its own
            config = T5Config(
                vocab_size=len(tokenizer),
                d_model=shape.width,
                d_kv=shape.width // shape.heads,
                d_ff=2 * shape.width,
                num_layers=shape.layers,
                num_heads=shape.heads,
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
                decoder_start_token_id=tokenizer.pad_token_id,
                **ends,
            )
            return T5ForConditionalGeneration(config)
        config = BartConfig(
            vocab_size=len(tokenizer),
            d_model=shape.width,
            encoder_layers=shape.layers,
            decoder_layers=shape.layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=4 * shape.width,
            decoder_ffn_dim=4 * shape.width,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=None,
            **ends,
        )
        return BartForConditionalGeneration(config)
