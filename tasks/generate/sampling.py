"""The next token of every row from its logits: functions of numbers alone, in Hugging Face's order.

Repetition penalty, temperature, top-k, top-p, draw. Logits are (rows, vocabulary) in float32; those of
tokens that are ruled out become -inf.
"""

import hashlib
import json
import random

import torch
from torch import Tensor

TIE = 2.0**-16
"""Of a row's range of logits. Read alone and in a batch, GPT-2 124M differs by a thirtieth of that."""
FEW = 1024
"""Tokens that most nuclei lie within; the whole vocabulary is sorted only for others."""


def penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Tokens of which `seen` (rows, vocabulary) is true made less likely (CTRL, Keskar et al. 2019, 4.1).

    Their formula divides by the penalty, which would make a negative logit likelier; that is multiplied.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def only_top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits and those equal to the smallest of them."""
    smallest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def only_top_p(logits: Tensor, p: float) -> Tensor:
    """The nucleus (Holtzman et al. 2020, 3.1): the fewest likeliest tokens of probability p together.

    At least one token; of equal ones those with the smaller number first.
    """
    probabilities = logits.softmax(dim=-1)
    ordered, tokens = _first(probabilities, FEW)
    sure = torch.where(ordered > ordered[:, -1:], ordered, 0).sum(dim=-1) >= p
    if not sure.all():  # the nucleus of some row reaches further, or cuts through equals that do
        ordered, tokens = _first(probabilities, logits.shape[-1])
    likelier = ordered.cumsum(dim=-1) - ordered
    inside = likelier < p
    inside[:, 0] = True
    kept = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, tokens, inside)
    return logits.masked_fill(~kept, -torch.inf)


def _first(probabilities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest `count` in descending order with their tokens, equal ones in that of the tokens."""
    tokens = probabilities.topk(min(count, probabilities.shape[-1])).indices.sort(dim=-1).values
    ordered, order = probabilities.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
    return ordered, tokens.gather(1, order)


def warped(logits: Tensor, temperature: float, top_k: int | None, top_p: float) -> Tensor:
    logits = logits / temperature
    if top_k is not None:
        logits = only_top_k(logits, top_k)
    return only_top_p(logits, top_p) if top_p < 1 else logits


def drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The token (rows,) at which the cumulated probability passes `uniforms` (rows,), float64 in [0, 1)."""
    cumulated = logits.softmax(dim=-1).double().cumsum(dim=-1)
    passed = torch.searchsorted(cumulated, uniforms[:, None] * cumulated[:, -1:], right=True)
    return passed[:, 0].clamp(max=logits.shape[-1] - 1)


def largest(logits: Tensor) -> Tensor:
    """The token of the largest logit (rows,); of equal ones the first."""
    if logits.device.type == "cpu":  # where NumPy takes a tenth of torch's time
        return torch.from_numpy(logits.numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)


def ties(logits: Tensor) -> Tensor:
    """Rows (numbers) of which two tokens come so close that rounding may decide between them."""
    tokens = largest(logits)[:, None]
    best = logits.gather(1, tokens)
    others = logits.scatter(1, tokens, -torch.inf)
    second = others.gather(1, largest(others)[:, None])
    smallest = logits.gather(1, largest(-logits)[:, None])
    return (best - second <= TIE * (best - smallest)).any(dim=1).nonzero()[:, 0]


def generator_of(seed: int, row: int | str) -> random.Random:
    """What a row draws from: its own, whatever its batch and the rows before it."""
    digest = hashlib.sha256(json.dumps([seed, row]).encode()).digest()
    return random.Random(int.from_bytes(digest))
