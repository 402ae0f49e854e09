"""GPT-2 from scratch (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

Parameter names and layouts are those of Hugging Face's GPT-2, so that a saved folder loads with
`AutoModelForCausalLM` and nothing else. One of those layouts is a legacy of the TensorFlow original:
a projection keeps its weight as (inputs, outputs), the transpose of `nn.Linear`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationConfig, GPT2Config

from tasks.data.token_files import IGNORED

WEIGHTS = "model.safetensors"
HEAD = "lm_head.weight"


class Cache:
    """Keys and values of the positions seen so far, by layer, both (batch, heads, time, head width)."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions to a layer; returns all of its keys and values."""
        if layer in self.layers:
            past_key, past_value = self.layers[layer]
            key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        self.layers[layer] = key, value
        return key, value


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
    def from_hugging_face(cls, config: GPT2Config) -> "GPTConfig":
        return cls(
            vocab_size=config.vocab_size,
            context=config.n_positions,
            layers=config.n_layer,
            heads=config.n_head,
            width=config.n_embd,
            dropout=config.resid_pdrop,
            end_token=config.eos_token_id,
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

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        """`x` (batch, time, width), only the new positions when there is a cache.

        `mask` is True where a query may look at a key; None is the causal triangle.
        """
        batch, time, width = x.shape
        query, key, value = (
            part.view(batch, time, self.heads, width // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None,
        )
        joined = mixed.transpose(1, 2).reshape(batch, time, width)
        return F.dropout(self.c_proj(joined), self.dropout, self.training)


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

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
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

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits (batch, time, vocab_size) for `input_ids` (batch, time).

        With `labels` (batch, time; what follows each position, or IGNORED) their cross-entropy instead: a
        scalar in nats, summed. With `documents` (batch, time; a number for each document) no document sees
        another, and each has positions from 0. With a `cache`, `input_ids` are only the positions after
        those it holds, and are added to it. Raises ValueError when the sequence would be longer than the
        context, and for a cache together with documents.
        """
        if cache is not None and documents is not None:
            raise ValueError("a cache holds one document: give documents or a cache, not both")
        start = len(cache) if cache is not None else 0
        time = input_ids.shape[1]
        if start + time > self.config.context:
            raise ValueError(f"{start + time} tokens do not fit the context of {self.config.context}")
        if documents is not None:
            positions, mask = positions_within(documents), mask_between(documents)
        else:
            positions = torch.arange(start, start + time, device=input_ids.device)
            mask = None
            if start:  # the causal triangle of scaled_dot_product_attention begins at the first key
                mask = torch.ones(time, start + time, dtype=torch.bool, device=input_ids.device).tril(start)
        x = self.transformer["wte"](input_ids) + self.transformer["wpe"](positions)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.transformer["h"]:
            x = block(x, mask, cache)
        logits = F.linear(self.transformer["ln_f"](x), self.transformer["wte"].weight)
        return logits if labels is None else summed_loss(logits, labels)

    @property
    def width(self) -> int:
        return self.config.width

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, time: int) -> int:
        """Of a training step, forward and backward: 6 a weight that is multiplied by, and the attention.

        As PaLM counts (Chowdhery et al. 2022, appendix B): every query sees `time` keys, and neither the
        causal half nor a second forward is taken off. Position embeddings are looked up, not multiplied.
        """
        weights = self.parameter_count() - self.transformer["wpe"].weight.numel()
        return 6 * weights + 12 * self.config.layers * self.config.width * time

    @torch.no_grad()
    def continue_greedily(self, input_ids: Tensor, new_tokens: int) -> Tensor:
        """`input_ids` (1, time) and up to `new_tokens` more, ending after the end token or at the context."""
        was_training = self.training
        self.eval()
        room = min(new_tokens, self.config.context - input_ids.shape[1])
        latest, cache = input_ids, Cache()
        for _ in range(room):
            logits = self(latest, cache=cache)
            latest = logits[:, -1:].argmax(dim=-1)
            input_ids = torch.cat([input_ids, latest], dim=1)
            if latest.item() == self.config.end_token:
                break
        self.train(was_training)
        return input_ids

    def save(self, folder: Path) -> None:
        """Write a Hugging Face GPT-2 checkpoint: config, generation config, safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config.to_hugging_face().save_pretrained(folder)
        end = self.config.end_token
        GenerationConfig(bos_token_id=end, eos_token_id=end, pad_token_id=end).save_pretrained(folder)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path) -> "GPT":
        """Read such a checkpoint.

        Raises ValueError naming a weight that is missing or has another shape, and for a head of its own.
        """
        model = cls(GPTConfig.from_hugging_face(GPT2Config.from_pretrained(folder)))
        expected = model.state_dict()
        stored = {_our_name(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
        found = {name: tensor for name, tensor in stored.items() if not _is_derived(name)}
        if missing := sorted(expected.keys() - found.keys()) or sorted(found.keys() - expected.keys()):
            raise ValueError(f"{folder / WEIGHTS}: {missing[0]} is missing here or unknown to GPT-2")
        for name, tensor in found.items():
            if tensor.shape != expected[name].shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}")
        head = stored.get(_our_name(HEAD))
        if head is not None and not torch.equal(head, found["transformer.wte.weight"]):
            raise ValueError(f"{folder / WEIGHTS}: {HEAD} is not the token embedding, as GPT-2's is")
        model.load_state_dict(found)
        return model


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats of logits (batch, time, vocabulary) with shifted labels (batch, time), summed."""
    return F.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def positions_within(documents: Tensor) -> Tensor:
    """Each position counted from the start of its document; `documents` and the result (batch, time)."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def mask_between(documents: Tensor) -> Tensor:
    """(batch, 1, time, time), True where a query may look at a key: not later, and in its own document."""
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same & torch.ones(same.shape[-2:], dtype=torch.bool, device=documents.device).tril()


def _our_name(name: str) -> str:
    """OpenAI's own upload leaves out the prefix; torch.compile adds one."""
    name = name.removeprefix("_orig_mod.")
    return name if name.startswith("transformer.") else f"transformer.{name}"


def _is_derived(name: str) -> bool:
    """The tied head and the causal masks of old checkpoints hold nothing of their own."""
    return name.endswith((HEAD, ".attn.bias", ".attn.masked_bias"))
