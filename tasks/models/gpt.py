"""GPT-2 from scratch (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

Parameter names and layouts are those of Hugging Face's GPT-2, so that a saved folder loads with
`AutoModelForCausalLM` and nothing else. One of those layouts is a legacy of the TensorFlow original:
a projection keeps its weight as (inputs, outputs), the transpose of `nn.Linear`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config

from tasks.config import PretrainConfig
from tasks.models.causal import HEAD, Cache, CausalModel, Mask, attend, heads_apart, numbers_of


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. `context` is the longest sequence in tokens; `end_token` ends a document."""

    vocab_size: int
    context: int
    layers: int
    heads: int
    width: int
    dropout: float = 0.0
    end_token: int | None = None

    def to_hugging_face(self) -> GPT2Config:
        return GPT2Config(
            vocab_size=self.vocab_size,
            n_positions=self.context,
            n_layer=self.layers,
            n_head=self.heads,
            n_embd=self.width,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            bos_token_id=self.end_token,
            eos_token_id=self.end_token,
            architectures=["GPT2LMHeadModel"],
        )

    @classmethod
    def from_hugging_face(cls, config: GPT2Config) -> Self:
        return cls(
            **numbers_of(
                config,
                vocab_size="vocab_size",
                context="n_positions",
                layers="n_layer",
                heads="n_head",
                width="n_embd",
                dropout="resid_pdrop",
                end_token="eos_token_id",
            )
        )


class Projection(nn.Module):
    """A linear layer whose weight is (inputs, outputs), as GPT-2's checkpoints keep it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class Attention(nn.Module):
    """Causal multi-head self-attention: position t sees positions up to t."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.heads
        self.dropout = config.dropout
        self.c_attn = Projection(config.width, 3 * config.width)
        self.c_proj = Projection(config.width, config.width)

    def forward(self, x: Tensor, mask: Mask, cache: Cache | None) -> Tensor:
        """`x` (batch, time, width), only the new positions when there is a cache.

        `mask` is True where a query may look at a key; None is the causal triangle.
        """
        query, key, value = (
            heads_apart(part, self.heads) for part in self.c_attn(x).split(x.shape[2], dim=2)
        )
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        mixed = attend(query, key, value, mask, self.dropout if self.training else 0.0)
        return F.dropout(self.c_proj(mixed), self.dropout, self.training)


class MLP(nn.Module):
    """Four times as wide inside, with GELU in its tanh form, as GPT-2 was trained."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = Projection(config.width, 4 * config.width)
        self.c_proj = Projection(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.c_fc(x), approximate="tanh")
        return F.dropout(self.c_proj(hidden), self.dropout, self.training)


class Block(nn.Module):
    """Pre-norm: each sublayer reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Mask, cache: Cache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class GPT(CausalModel):
    """The language model; its output head is the token embedding, so the two are one tensor."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.width),
                "wpe": nn.Embedding(config.context, config.width),
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.layers)),
                "ln_f": nn.LayerNorm(config.width),
            }
        )
        self._initialise()

    def _initialise(self) -> None:
        """Normal with 0.02; projections into the residual stream scaled by 1/sqrt(2 layers) (GPT-2, 2.3)."""
        residual = 0.02 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=residual)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, input_ids: Tensor, positions: Tensor, mask: Mask, cache: Cache | None) -> Tensor:
        """The last hidden states (batch, time, width), as `CausalModel.hidden` says."""
        x = self.transformer["wte"](input_ids) + self.transformer["wpe"](positions)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.transformer["h"]:
            x = block(x, mask, cache)
        return self.transformer["ln_f"](x)

    @property
    def head(self) -> Tensor:
        return self.transformer["wte"].weight

    def multiplied_weights(self) -> int:
        """All but the position embeddings, which are looked up."""
        return self.parameter_count() - self.transformer["wpe"].weight.numel()

    @classmethod
    def from_settings(cls, config: PretrainConfig, vocab_size: int, end_token: int | None) -> Self:
        """An untrained model of the size that is asked for."""
        layers, heads, width = config.shape()
        return cls(
            GPTConfig(
                vocab_size=vocab_size,
                context=config.context,
                layers=layers,
                heads=heads,
                width=width,
                dropout=config.dropout,
                end_token=end_token,
            )
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a Hugging Face GPT-2 checkpoint. Raises ValueError as `load_weights` does."""
        model = cls(GPTConfig.from_hugging_face(GPT2Config.from_pretrained(folder)))
        model.load_weights(folder, _our_name)
        return model


def _our_name(name: str) -> str | None:
    """OpenAI's own upload leaves out the prefix; torch.compile adds one; old files hold causal masks."""
    name = name.removeprefix("_orig_mod.")
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    return name if name == HEAD or name.startswith("transformer.") else f"transformer.{name}"
