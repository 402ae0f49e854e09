"""What our models from scratch have in common: how they are asked, the masks, the cache, a checkpoint's file.

A model says how tokens become hidden states (`hidden`) and which matrix turns these into logits (`head`);
everything else is here, and the same for all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedConfig

from tasks.models.kernels import PLAIN, Boundaries, Kernels, attend_within, boundaries_of, loss_of

WEIGHTS = "model.safetensors"
HEAD = "lm_head.weight"


class Shape(Protocol):
    """What is asked of the configuration of any of our models."""

    context: int
    layers: int
    width: int
    end_token: int | None

    def to_hugging_face(self) -> PreTrainedConfig: ...


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


Mask = Tensor | Boundaries | None
"""True where a query may look at a key; or where documents begin; None is the causal triangle."""


class CausalModel(nn.Module):
    """A causal language model: position t sees positions up to t."""

    config: Shape
    kernels: Kernels = PLAIN

    def hidden(self, input_ids: Tensor, positions: Tensor, mask: Mask, cache: Cache | None) -> Tensor:
        """The last hidden states (batch, time, width), normalised.

        `positions` are (time) or (batch, time); `mask` goes to `attend`.
        """
        raise NotImplementedError

    @property
    def head(self) -> Tensor:
        """The matrix (vocab_size, width) that makes logits of hidden states."""
        raise NotImplementedError

    def multiplied_weights(self) -> int:
        """How many weights a token is multiplied by; what is only looked up does not count."""
        raise NotImplementedError

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
            positions = positions_within(documents)
            in_half = torch.is_autocast_enabled(input_ids.device.type)  # which the kernel of `varlen` takes
            mask = boundaries_of(documents) if self.kernels.varlen and in_half else mask_between(documents)
        else:
            positions = torch.arange(start, start + time, device=input_ids.device)
            mask = None
            if start:  # the causal triangle of scaled_dot_product_attention begins at the first key
                mask = torch.ones(time, start + time, dtype=torch.bool, device=input_ids.device).tril(start)
        states = self.hidden(input_ids, positions, mask, cache)
        if labels is None:
            return F.linear(states, self.head)
        return loss_of(states, self.head, labels, self.kernels)

    @property
    def width(self) -> int:
        return self.config.width

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, time: int) -> int:
        """Of a training step, forward and backward: 6 a weight that is multiplied by, and the attention.

        As PaLM counts (Chowdhery et al. 2022, appendix B): every query sees `time` keys, and neither the
        causal half nor a second forward is taken off.
        """
        return 6 * self.multiplied_weights() + 12 * self.config.layers * self.config.width * time

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
        """Write a Hugging Face checkpoint: config, generation config, safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config.to_hugging_face().save_pretrained(folder)
        end = self.config.end_token
        GenerationConfig(bos_token_id=end, eos_token_id=end, pad_token_id=end).save_pretrained(folder)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    def load_weights(self, folder: Path, named: Callable[[str], str | None]) -> None:
        """Read a checkpoint's weights; `named` gives our name of one of its, None for what holds nothing.

        Raises ValueError naming a weight that is missing or has another shape, and for a head of its own
        where ours is the token embedding.
        """
        path, expected = folder / WEIGHTS, self.state_dict()
        stored = load_file(path)
        found = {own: tensor for name, tensor in stored.items() if (own := named(name)) is not None}
        head = None if HEAD in expected else found.pop(HEAD, None)
        if missing := sorted(expected.keys() - found.keys()) or sorted(found.keys() - expected.keys()):
            raise ValueError(f"{path}: {missing[0]} is missing here or unknown to {type(self).__name__}")
        for name, tensor in found.items():
            if tensor.shape != expected[name].shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}")
        self.load_state_dict(found)
        if head is not None and not torch.equal(head, self.head):
            raise ValueError(f"{path}: {HEAD} is not the token embedding, as that of this model is")


def heads_apart(x: Tensor, heads: int) -> Tensor:
    """(batch, time, heads x head width) as (batch, heads, time, head width)."""
    batch, time, width = x.shape
    return x.view(batch, time, heads, width // heads).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask, dropout: float = 0.0) -> Tensor:
    """Attention of queries (batch, heads, time, head width), joined to (batch, time, heads x head width).

    Where keys have fewer heads than queries, each of them serves as many queries as it takes. Within
    `Boundaries` there is no dropout.
    """
    if isinstance(mask, Boundaries):
        return attend_within(query, key, value, mask)
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    batch, heads, time, width = mixed.shape
    return mixed.transpose(1, 2).reshape(batch, time, heads * width)


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


def numbers_of(config: PreTrainedConfig, **names: str) -> dict[str, Any]:
    """Fields of a Hugging Face configuration under our names."""
    return {ours: getattr(config, theirs) for ours, theirs in names.items()}
