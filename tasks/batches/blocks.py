"""Blocks of tokens: how a stream of documents becomes batches, without padding and without losing a token."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tasks.data.token_files import IGNORED, Split
from tasks.errors import StageError


@dataclass(frozen=True)
class Batch:
    """Sequences of one length; all of shape (rows, time), int64.

    `labels` are what follows each input, shifted once and here, IGNORED where nothing is to be predicted.
    `documents` numbers the document of each input; None when documents are joined.
    """

    inputs: Tensor
    labels: Tensor
    documents: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """On a GPU by way of pinned memory: this process goes on while the copy waits for its turn."""
        documents = None if self.documents is None else _moved(self.documents, device)
        return Batch(_moved(self.inputs, device), _moved(self.labels, device), documents)

    def supervised(self) -> int:
        """How many labels count."""
        return int((self.labels != IGNORED).sum())

    def rows(self, start: int, stop: int) -> "Batch":
        documents = None if self.documents is None else self.documents[start:stop]
        return Batch(self.inputs[start:stop], self.labels[start:stop], documents)

    def without_labels(self) -> "Batch":
        return Batch(self.inputs, torch.full_like(self.labels, IGNORED), self.documents)

    def __len__(self) -> int:
        return len(self.inputs)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return tensor
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def batch_at(split: Split, starts: np.ndarray, context: int, apart: bool) -> Batch:
    """The blocks that begin at `starts` (rows,), each of `context` tokens and the one that follows.

    Every start must leave `context` + 1 tokens. With documents `apart`, an end token predicts nothing: what
    follows it is the start of another document.
    """
    places = starts[:, None] + np.arange(context + 1)
    block = torch.from_numpy(split.tokens[places].astype(np.int64))
    inputs, labels = block[:, :-1], block[:, 1:]
    if not apart:
        return Batch(inputs, labels)
    # In the type of the ends: of two types NumPy would look in a copy of all ends as float64.
    places = places.astype(split.ends.dtype)
    first, last = np.searchsorted(split.ends, [places.min(), places.max()], side="right")
    numbers = torch.from_numpy(np.searchsorted(split.ends[first : last + 1], places, side="right") + first)
    labels = labels.masked_fill(numbers[:, 1:] != numbers[:, :-1], IGNORED)
    return Batch(inputs, labels, numbers[:, :-1])


@dataclass
class Blocks:
    """Blocks of `context` + 1 tokens, every token of the stream once an epoch, in an order drawn by seed.

    Each epoch cuts the stream at another offset, so that block borders do not stay where they are; the
    tokens before the offset and after the last whole block (fewer than one block each) wait for the next
    epoch.
    """

    split: Split
    context: int
    seed: int
    apart: bool = False
    epoch: int = 0
    taken: int = 0
    name: str = "the training split"
    """What the stream is called where it is too short."""
    _order: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.split) < self.context + 1:
            raise StageError(
                f"{self.name} has {len(self.split)} tokens; a context of {self.context} needs "
                f"{self.context + 1}. Give more text, or lower pretrain.context"
            )
        self._order = self._drawn()

    def _drawn(self) -> np.ndarray:
        draw = np.random.default_rng((self.seed, self.epoch))
        slack = min(self.context, len(self.split) - self.context)
        offset = int(draw.integers(slack))
        return draw.permutation(np.arange(offset, len(self.split) - self.context, self.context))

    def draw(self, size: int) -> np.ndarray:
        """Where the next `size` blocks begin (size,)."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._runs(size)])

    def skip(self, size: int) -> int:
        """Go on as if the next `size` blocks had been drawn; returns the tokens of their inputs."""
        return sum(len(run) for run in self._runs(size)) * self.context

    @property
    def epochs_read(self) -> float:
        """How many times the stream was read so far."""
        return self.epoch + self.taken / len(self._order)

    def _runs(self, size: int) -> Iterator[np.ndarray]:
        """The next `size` starts, those of each epoch together."""
        while size > 0:
            if self.taken == len(self._order):
                self.epoch, self.taken = self.epoch + 1, 0
                self._order = self._drawn()
            run = self._order[self.taken : self.taken + size]
            self.taken, size = self.taken + len(run), size - len(run)
            yield run

    def batch(self, size: int, share: slice = slice(None)) -> Batch:
        """The next `size` blocks, of which the `share` is read: each of several processes reads its own.

        The last blocks of one epoch and the first of the next may stand in one batch.
        """
        return batch_at(self.split, self.draw(size)[share], self.context, self.apart)


LOGITS = 2**25  # of one batch of an evaluation; in float32 they take 128 MiB


def evaluation_rows(context: int, vocab_size: int) -> int:
    """Blocks in a batch of an evaluation: as many as keep a processor busy, and memory in bounds."""
    return max(1, min(LOGITS // vocab_size, 8192) // context)


def validation_batches(split: Split, context: int, size: int, apart: bool) -> Iterator[Batch]:
    """The whole split in order, `size` blocks a batch; the last block holds what is left.

    Every token but the first is predicted once.
    """
    whole = np.arange(0, len(split) - context, context)
    for at in range(0, len(whole), size):
        yield batch_at(split, whole[at : at + size], context, apart)
    rest = len(whole) * context
    if len(split) - rest >= 2:
        yield batch_at(split, np.array([rest]), len(split) - rest - 1, apart)
