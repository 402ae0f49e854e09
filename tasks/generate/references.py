"""How well a model expects the reference responses: their cross-entropy, given the prompt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.generate.decoding import DIVERGED, Reader, slices
from tasks.models.kernels import loss_by_token


@dataclass(frozen=True)
class ReferenceText:
    """The tokens of a prompt, and of its reference as far as the context reaches."""

    row: int | str
    prompt: list[int]
    completion: list[int]
    cut: bool


def reference(row: int | str, prompt: list[int], completion: list[int], context: float) -> ReferenceText:
    """Of a completion that ends with its end token as much as fits into a context of so many tokens."""
    room = min(len(completion), context - len(prompt))
    return ReferenceText(row, prompt, completion[: int(room)], room < len(completion))


Summed = Callable[[Sequence[ReferenceText]], Tensor]
"""Of some references, the loss of each in nats, (rows,) in float64."""


@torch.no_grad()
def losses(
    summed: Summed, references: Sequence[ReferenceText], budget: int
) -> Iterator[list[tuple[ReferenceText, float]]]:
    """The summed loss of each reference in nats, some of about one length at a time, within `budget` tokens.

    A model in float32 gives the losses of each reference read alone. Raises StageError for a loss that is no
    finite number.
    """
    ordered = sorted(references, key=lambda one: len(one.prompt) + len(one.completion))
    lengths = [len(one.prompt) + len(one.completion) for one in ordered]
    for places in slices(lengths, budget):
        members = ordered[places]
        found = summed(members)
        if not found.isfinite().all():
            raise StageError(DIVERGED)
        yield list(zip(members, found.tolist(), strict=True))


def summed_after_prompts(read: Reader, references: Sequence[ReferenceText]) -> Tensor:
    """Of a causal model; rows are padded on the right, where nothing sees it."""
    logits, labels = logits_after_prompts(read, references)
    return loss_by_token(logits, labels).double().sum(dim=1)


def logits_after_prompts(read: Reader, references: Sequence[ReferenceText]) -> tuple[Tensor, Tensor]:
    """Logits (rows, time, vocabulary), and the tokens that they predict (rows, time), IGNORED for others."""
    width = max(len(one.prompt) + len(one.completion) for one in references)
    ids = torch.zeros(len(references), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for place, one in enumerate(references):
        begin, end = len(one.prompt), len(one.prompt) + len(one.completion)
        ids[place, :end] = torch.tensor(one.prompt + one.completion)
        mask[place, :end] = 1
        labels[place, begin - 1 : end - 1] = torch.tensor(one.completion)
    first = min(len(one.prompt) for one in references) - 1
    device = read.model.device
    kept = torch.arange(first, width - 1, device=device)
    logits = read(ids.to(device), mask.to(device), kept)
    return logits, labels[:, first:-1].to(device)
