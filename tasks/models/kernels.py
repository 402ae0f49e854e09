"""Ways to compute the same loss that are faster on a GPU, or take less of its memory.

Each equals the plain way up to rounding. The float32 logits of 32 x 1,024 tokens and 50,257 words are 6.6 GB,
and as much again for their gradient: `chunked_loss` makes them for some rows at a time. A matrix product with
a side that is no multiple of 128 leaves part of a GPU idle: `vocabulary_multiple` pads the head. A dense mask
of documents keeps attention from the flash kernel: `varlen` gives it the documents' offsets instead.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from tasks.data.token_files import IGNORED

LOGITS = 2**27  # of a chunk; in float32 they take 512 MiB


@dataclass(frozen=True)
class Kernels:
    """What is computed in another way than the plain one."""

    chunked_loss: bool = False
    """Logits, loss and their gradients some rows at a time; while training alone."""
    vocabulary_multiple: int = 1
    """The head's rows are padded to a multiple of it while it multiplies; padded logits count nothing."""
    varlen: bool = False
    """Attention within documents by their offsets; on CUDA in half precision alone."""


PLAIN = Kernels()


def loss_of(states: Tensor, head: Tensor, labels: Tensor, kernels: Kernels) -> Tensor:
    """Cross-entropy in nats, summed, of hidden states (batch, time, width) by a head (vocabulary, width)."""
    if kernels.chunked_loss and torch.is_grad_enabled():
        return _chunked_loss(states.flatten(0, 1), head, labels.flatten(), kernels.vocabulary_multiple)
    if missing := _missing(head, kernels):
        return summed_loss(F.linear(states, F.pad(head, (0, 0, 0, missing)))[..., : len(head)], labels)
    return summed_loss(F.linear(states, head), labels)


def _missing(head: Tensor, kernels: Kernels) -> int:
    """Rows that the head lacks to a multiple."""
    return -len(head) % kernels.vocabulary_multiple


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats of logits (batch, time, vocabulary) with shifted labels (batch, time), summed."""
    return F.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def loss_by_token(logits: Tensor, labels: Tensor) -> Tensor:
    """As `summed_loss`, of each token: (batch, time) in float32, 0 where nothing is predicted.

    The vocabulary comes last, where its logits lie side by side. As cross_entropy otherwise takes a batch,
    (batch, vocabulary, time), the CPU adds them up one by one: of 150,000 words that is off by 0.0002 nats
    a token, always to one side, which an answer adds up.
    """
    each = F.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return each.view_as(labels)


@torch.compiler.disable
def _chunked_loss(states: Tensor, head: Tensor, labels: Tensor, multiple: int) -> Tensor:
    """As `loss_of`, of states (tokens, width), in the precision of autocast."""
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    with torch.autocast(kind, enabled=False):
        return ChunkedLoss.apply(states.to(dtype), head.to(dtype), labels, multiple)


class ChunkedLoss(torch.autograd.Function):
    """A summed cross-entropy that makes both gradients on its way, chunk by chunk, and keeps no logits.

    torch.nn.functional.linear_cross_entropy does the same, but gives the loss in the precision of its input:
    in bfloat16 1,528 for 1,522.6, which no curve of a training should be drawn by.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, head: Tensor, labels: Tensor, multiple: int) -> Tensor:
        size = len(head)
        padded = F.pad(head, (0, 0, 0, -size % multiple)) if size % multiple else head
        of_states, of_head = torch.empty_like(states), torch.zeros_like(padded, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        for rows in torch.arange(len(states)).split(max(1, LOGITS // len(padded))):
            chunk = slice(int(rows[0]), int(rows[-1]) + 1)
            found, gradient = _loss_and_gradient(F.linear(states[chunk], padded), labels[chunk], size)
            total += found
            of_states[chunk] = gradient @ padded
            of_head += (gradient.t() @ states[chunk]).float()
        ctx.save_for_backward(of_states, of_head[:size])
        ctx.dtype = head.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_states, of_head = ctx.saved_tensors
        return (of_states * upstream).to(of_states.dtype), (of_head * upstream).to(ctx.dtype), None, None


def _loss_and_gradient(logits: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The summed loss of logits (rows, padded vocabulary) in float32, and its gradient in their precision."""
    whole = logits.float()
    whole[:, size:] = -torch.inf
    counts = labels != IGNORED
    places = labels.clamp(min=0)[:, None]
    logs = F.log_softmax(whole, dim=-1)
    loss = -(logs.gather(1, places)[:, 0] * counts).sum()
    gradient = logs.exp_()
    gradient.scatter_add_(1, places, torch.full_like(places, -1, dtype=gradient.dtype))
    return loss, (gradient * counts[:, None]).to(logits.dtype)


@dataclass(frozen=True)
class Boundaries:
    """Where documents begin in a batch (batch, time) that is read as one row; for `varlen`."""

    offsets: Tensor
    """(documents + 1,) int32: each one's first place, and the number of all places."""
    longest: int
    """No document is longer than a row."""


def boundaries_of(documents: Tensor) -> Boundaries:
    """Of documents' numbers (batch, time). Their count is read from the device, which waits for it."""
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    starts = begins.flatten().nonzero().flatten()
    offsets = F.pad(starts, (0, 1), value=documents.numel()).to(torch.int32)
    return Boundaries(offsets, documents.shape[1])


def attend_within(query: Tensor, key: Tensor, value: Tensor, boundaries: Boundaries) -> Tensor:
    """Causal attention within documents, joined to (batch, time, heads x head width).

    `query` is (batch, heads, time, head width), keys and values may have fewer heads.
    """
    batch, heads, time, width = query.shape
    packed = (part.transpose(1, 2).flatten(0, 1).to(value.dtype) for part in (query, key, value))
    offsets, longest = boundaries.offsets, boundaries.longest
    mixed = varlen_attn(
        *packed,
        offsets,
        offsets,
        longest,
        longest,
        window_size=(-1, 0),
        enable_gqa=key.shape[1] != heads,
    )
    return mixed.reshape(batch, time, heads * width)
