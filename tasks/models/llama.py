"""Llama from scratch (Touvron et al. 2023, "LLaMA"; Grattafiori et al. 2024, "The Llama 3 Herd of Models").

Against GPT-2 five things changed, and each is a class or a function here: the norm divides by the root mean
square and subtracts no mean (`RMSNorm`); positions are not added to the input but turn queries and keys
(`Rotary`); the MLP has a gate (`MLP`); several queries share a key (`Attention`); nothing has a bias.

Parameter names are those of Hugging Face's Llama, so that a saved folder loads with `AutoModelForCausalLM`
and nothing else; with `qk_norm` they are Qwen3's, which is a Llama whose queries and keys are normalised.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig, Qwen3Config

from tasks.config import PretrainConfig
from tasks.models.causal import Cache, CausalModel, Mask, attend, heads_apart, numbers_of

ELSE = "Transformers loads it: name it as base.model, or as pretrain.model"


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches its positions to longer contexts than it was pretrained on (its section 3.4.2).

    Frequencies that turn more than `high_freq_factor` times within the `original` context stay, those that
    turn less than `low_freq_factor` times are divided by `factor`, and between them it goes smoothly.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original: int


@dataclass(frozen=True)
class LlamaShape:
    """The shape of a Llama. `context` is the longest sequence in tokens; `end_token` ends a document."""

    vocab_size: int
    context: int
    layers: int
    heads: int
    key_heads: int
    """Heads of keys and values; `heads / key_heads` queries share one (Ainslie et al. 2023, "GQA")."""
    width: int
    inner: int
    """Width inside the MLP."""
    theta: float = 10000.0
    """Of the rotary positions: the slowest pair turns once in about 2 pi theta tokens."""
    scaling: RopeScaling | None = None
    is_tied: bool = True
    """Whether the output head is the token embedding."""
    qk_norm: bool = False
    epsilon: float = 1e-5
    end_token: int | None = None
    head_width: int | None = None

    @property
    def per_head(self) -> int:
        return self.head_width or self.width // self.heads

    def to_hugging_face(self) -> LlamaConfig | Qwen3Config:
        rope: dict[str, object] = {"rope_type": "default", "rope_theta": self.theta}
        if self.scaling:
            own = asdict(self.scaling)
            rope |= {"rope_type": "llama3", "original_max_position_embeddings": own.pop("original")} | own
        kind, name = (Qwen3Config, "Qwen3ForCausalLM") if self.qk_norm else (LlamaConfig, "LlamaForCausalLM")
        return kind(
            vocab_size=self.vocab_size,
            max_position_embeddings=self.context,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            hidden_size=self.width,
            head_dim=self.per_head,
            intermediate_size=self.inner,
            rms_norm_eps=self.epsilon,
            rope_parameters=rope,
            tie_word_embeddings=self.is_tied,
            bos_token_id=self.end_token,
            eos_token_id=self.end_token,
            architectures=[name],
        )

    @classmethod
    def from_hugging_face(cls, config: PreTrainedConfig) -> Self:
        """Raises ValueError for a Llama that this file does not describe."""
        if config.model_type not in ("llama", "qwen3"):
            raise ValueError(f"a checkpoint of the kind {config.model_type} is no Llama and no Qwen3; {ELSE}")
        rope = dict(config.rope_parameters)
        kind = rope.get("rope_type", "default")
        if kind not in ("default", "llama3"):
            raise ValueError(
                f"rotary positions of the type {kind} are not known here, only default and llama3; {ELSE}"
            )
        if rope.get("partial_rotary_factor", 1.0) != 1.0 or getattr(config, "use_sliding_window", False):
            raise ValueError(f"this checkpoint turns part of a head, or sees a window of positions; {ELSE}")
        if config.hidden_act != "silu" or config.attention_bias or getattr(config, "mlp_bias", False):
            raise ValueError("a Llama has SiLU in its MLP and no biases; this checkpoint has others")
        scaling = None
        if kind == "llama3":
            names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
            scaling = RopeScaling(*(rope[name] for name in names))
        return cls(
            **numbers_of(
                config,
                vocab_size="vocab_size",
                context="max_position_embeddings",
                layers="num_hidden_layers",
                heads="num_attention_heads",
                key_heads="num_key_value_heads",
                width="hidden_size",
                inner="intermediate_size",
                is_tied="tie_word_embeddings",
                epsilon="rms_norm_eps",
                end_token="eos_token_id",
                head_width="head_dim",
            ),
            theta=rope["rope_theta"],
            scaling=scaling,
            qk_norm=config.model_type == "qwen3",
        )


class RMSNorm(nn.Module):
    """Divides by the root mean square of a vector (Zhang and Sennrich 2019), in float32 whatever comes in."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        whole = x.float()
        normed = whole * torch.rsqrt(whole.square().mean(dim=-1, keepdim=True) + self.epsilon)
        return self.weight * normed.to(x.dtype)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021, "RoFormer"): a turn by an angle that grows with the position.

    A head's values are pairs, i with i + width / 2; pair i turns by position / theta^(2i / width) radians.
    A query and a key that are turned so have a product that depends on their distance alone.
    """

    frequencies: Tensor

    def __init__(self, config: LlamaShape) -> None:
        super().__init__()
        width = config.per_head
        frequencies = 1.0 / config.theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
        if config.scaling:
            frequencies = stretched(frequencies, config.scaling)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of every angle for positions (..., time), both (..., time, head width)."""
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


def stretched(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Frequencies for a longer context, as `RopeScaling` says."""
    turns = scaling.original * frequencies / (2 * math.pi)
    share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = share.clamp(0.0, 1.0)
    return (1.0 - kept) * frequencies / scaling.factor + kept * frequencies


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """`x` (batch, heads, time, head width), each pair of a head's values turned by its angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class Attention(nn.Module):
    """Causal self-attention in which several heads of queries share one of keys and values."""

    def __init__(self, config: LlamaShape, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.key_heads = config.heads, config.key_heads
        width = config.per_head
        self.q_proj = nn.Linear(config.width, config.heads * width, bias=False)
        self.k_proj = nn.Linear(config.width, config.key_heads * width, bias=False)
        self.v_proj = nn.Linear(config.width, config.key_heads * width, bias=False)
        self.o_proj = nn.Linear(config.heads * width, config.width, bias=False)
        if config.qk_norm:  # keeps the products small however the weights grow (Dehghani et al. 2023)
            self.q_norm, self.k_norm = RMSNorm(width, config.epsilon), RMSNorm(width, config.epsilon)
        self.qk_norm = config.qk_norm

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Mask, cache: Cache | None) -> Tensor:
        """`x` (batch, time, width), only the new positions when there is a cache.

        The cache holds keys that are turned already: what turns them depends on their own position alone.
        """
        query = heads_apart(self.q_proj(x), self.heads)
        key = heads_apart(self.k_proj(x), self.key_heads)
        value = heads_apart(self.v_proj(x), self.key_heads)
        if self.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = turned(query, *angles), turned(key, *angles)
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        return self.o_proj(attend(query, key, value, mask))


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, "GLU Variants Improve Transformer"): one projection opens the gate of another."""

    def __init__(self, config: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.inner, bias=False)
        self.up_proj = nn.Linear(config.width, config.inner, bias=False)
        self.down_proj = nn.Linear(config.inner, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm: each sublayer reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: LlamaShape, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.epsilon)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.width, config.epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Mask, cache: Cache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(CausalModel):
    """The language model; its output head is the token embedding, or a matrix of its own."""

    def __init__(self, config: LlamaShape) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(config.vocab_size, config.width),
                "layers": nn.ModuleList(Block(config, layer) for layer in range(config.layers)),
                "norm": RMSNorm(config.width, config.epsilon),
            }
        )
        self.rotary = Rotary(config)
        self.lm_head = None if config.is_tied else nn.Linear(config.width, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Normal with 0.02; projections into the residual stream scaled by 1/sqrt(2 layers), as GPT-2's."""
        residual = 0.02 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(parameter, std=residual)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, input_ids: Tensor, positions: Tensor, mask: Mask, cache: Cache | None) -> Tensor:
        """The last hidden states (batch, time, width), as `CausalModel.hidden` says."""
        x = self.model["embed_tokens"](input_ids)
        cosine, sine = (part.to(x.dtype) for part in self.rotary(positions))
        if positions.dim() == 2:  # (batch, time, head width): the same for all heads
            cosine, sine = cosine[:, None], sine[:, None]
        for block in self.model["layers"]:
            x = block(x, (cosine, sine), mask, cache)
        return self.model["norm"](x)

    @property
    def head(self) -> Tensor:
        return self.model["embed_tokens"].weight if self.lm_head is None else self.lm_head.weight

    def multiplied_weights(self) -> int:
        """All but a token embedding that is not the head too: it is looked up."""
        looked_up = 0 if self.lm_head is None else self.model["embed_tokens"].weight.numel()
        return self.parameter_count() - looked_up

    @classmethod
    def from_settings(cls, config: PretrainConfig, vocab_size: int, end_token: int | None) -> Self:
        """An untrained model of the size that is asked for, its MLP 8/3 as wide, to a multiple of 64."""
        layers, heads, width = config.shape()
        return cls(
            LlamaShape(
                vocab_size=vocab_size,
                context=config.context,
                layers=layers,
                heads=heads,
                key_heads=config.heads_of_keys(),
                width=width,
                inner=64 * math.ceil(width * 8 / 3 / 64),
                qk_norm=config.qk_norm,
                end_token=end_token,
            )
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a Hugging Face checkpoint of a Llama or a Qwen3. Raises ValueError as `load_weights` does."""
        model = cls(LlamaShape.from_hugging_face(AutoConfig.from_pretrained(folder)))
        model.load_weights(folder, _our_name)
        return model


def _our_name(name: str) -> str | None:
    """torch.compile adds a prefix; old files hold the frequencies of the rotary positions."""
    name = name.removeprefix("_orig_mod.")
    return None if name.endswith("rotary_emb.inv_freq") else name
