"""Sequences with some of their tokens masked: what a masked language model is trained and measured on.

A sequence is the start token, some text, the end token. Of its tokens a share is drawn to be predicted; four
in five of those are replaced by the mask token, one in ten by any token, one in ten stays (Devlin et al.
2018, section 3.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch

from tasks.batches.blocks import Batch
from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, Split, TokenFiles
from tasks.errors import StageError
from tasks.tokenize.words import Words

PADDING = -1  # in `Batch.documents`: no token of any document
REPLACED, RANDOM = 0.8, 0.1  # of the drawn tokens; what is left stays as it is
MULTIPLE = 8  # sequences are padded to a length of so many tokens, so that there are fewer lengths
SORTED = 64  # batches among whose sequences those of like length are put together
VALIDATION = 2**32  # in place of an epoch, of which there are never so many


@dataclass(frozen=True)
class MaskedRow:
    """A sequence as it is, as the model sees it, and its labels; all (time,)."""

    original: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray


class DrawnText(NamedTuple):
    """A text of an epoch, by its place there, and where it stands in the split."""

    epoch: int
    place: int
    start: int
    length: int


@dataclass(frozen=True)
class Masking:
    """How tokens are drawn and replaced."""

    rate: float
    start: int
    end: int
    mask: int
    pad: int
    special: np.ndarray
    """(vocabulary,), True for tokens that are never masked, and never put in place of another."""
    words: Words | None = None
    """For masking whole words."""

    @classmethod
    def of(cls, config: PretrainConfig, files: TokenFiles, words: Words | None) -> "Masking":
        """Raises StageError for tokens without a mask token."""
        ids = files.special
        special = np.zeros(files.vocab_size, dtype=bool)
        special[ids["all"]] = True
        return cls(config.mask_rate, ids["start"], ids["end"], ids["mask"], ids["pad"], special, words)

    def row(self, text: np.ndarray, random: np.random.Generator) -> MaskedRow:
        """A sequence of some text (time - 2,), masked by what `random` draws.

        Where nothing is drawn one token, or word, is all the same: a short text would teach nothing.
        """
        tokens = np.array([self.start, *text.tolist(), self.end], dtype=np.int64)
        drawn = self._drawn(tokens, random)
        labels = np.where(drawn, tokens, IGNORED)
        fate = random.random(len(tokens))
        regular = np.flatnonzero(~self.special)
        others = regular[random.integers(len(regular), size=len(tokens))]
        inputs = np.where(drawn & (fate < REPLACED), self.mask, tokens)
        inputs = np.where(drawn & (fate >= REPLACED) & (fate < REPLACED + RANDOM), others, inputs)
        return MaskedRow(tokens, inputs, labels)

    def units(self, tokens: np.ndarray) -> np.ndarray:
        """The number of the token, or word, that each token is of (time,); -1 of special ones."""
        regular = ~self.special[tokens]
        begins = regular if self.words is None else self.words.begins(tokens) & regular
        after = np.zeros(len(tokens), dtype=bool)
        after[1:] = ~regular[:-1]  # behind a special token a word begins whatever its first token is
        return np.where(regular, np.cumsum(begins | (regular & after)) - 1, -1)

    def _drawn(self, tokens: np.ndarray, random: np.random.Generator) -> np.ndarray:
        units = self.units(tokens)
        count = int(units.max()) + 1
        if not count:
            return np.zeros(len(tokens), dtype=bool)
        drawn = random.random(count) < self.rate
        if not drawn.any():
            drawn[random.integers(count)] = True
        return np.append(drawn, False)[units]  # the last is of special tokens, -1

    def collate(self, rows: Sequence[MaskedRow], longest: int) -> Batch:
        """One batch, padded to the longest of the rows, a multiple of `MULTIPLE` and `longest` at most."""
        lengths = [len(row.inputs) for row in rows]
        time = min(-(-max(lengths, default=1) // MULTIPLE) * MULTIPLE, longest)
        inputs = np.full((len(rows), time), self.pad, dtype=np.int64)
        labels = np.full((len(rows), time), IGNORED, dtype=np.int64)
        documents = np.full((len(rows), time), PADDING, dtype=np.int64)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            inputs[place, :length], labels[place, :length] = row.inputs, row.labels
            documents[place, :length] = 0
        padded = torch.from_numpy(documents) if documents.min(initial=0) == PADDING else None
        return Batch(torch.from_numpy(inputs), torch.from_numpy(labels), padded)


def windows(split: Split, size: int, apart: bool, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Where the texts of sequences start, and how long they are; both (sequences,).

    With documents `apart` each text is of one document, without the end token, and a document longer than
    `size` is cut into several. Else the stream is cut from `offset` on, end tokens of documents included.
    """
    if not apart:
        starts = np.arange(offset, len(split), size)
        return starts, np.minimum(size, len(split) - starts)
    begins = np.concatenate([np.zeros(1, dtype=np.int64), split.ends[:-1].astype(np.int64)])[
        : len(split.ends)
    ]
    lengths = split.ends.astype(np.int64) - 1 - begins
    counts = -(-lengths // size)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(begins, counts) + number * size
    return starts, np.minimum(size, np.repeat(begins + lengths, counts) - starts)


@dataclass
class MaskedSequences:
    """Every text once an epoch, in an order drawn by seed, masked otherwise in each.

    What is drawn for a sequence depends on the seed, the epoch and its place there alone: not on how many
    processes share a batch, nor on whether the training was continued.
    """

    split: Split
    masking: Masking
    context: int
    seed: int
    apart: bool = False
    epoch: int = 0
    taken: int = 0
    together: int = 1
    """How many sequences of about one length follow each other, so that there is little padding."""
    name: str = "the training split"
    """What the stream is called where it is too short."""
    _texts: tuple[np.ndarray, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        size = self.context - 2
        if not len(windows(self.split, size, self.apart)[0]) or (not self.apart and len(self.split) < size):
            raise StageError(
                f"{self.name} has {len(self.split)} tokens; a context of {self.context} needs "
                f"{'a document' if self.apart else size}. Give more text, or lower pretrain.context"
            )
        self._texts = self._drawn()

    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The texts of an epoch; of joined documents those that fill a sequence, cut at another offset."""
        draw = np.random.default_rng((self.seed, self.epoch))
        size = self.context - 2
        if self.apart:
            starts, lengths = windows(self.split, size, apart=True)
        else:
            offset = int(draw.integers(min(size, len(self.split) - size + 1)))
            starts, lengths = windows(self.split, size, False, offset)
            starts, lengths = starts[lengths == size], lengths[lengths == size]
        order = draw.permutation(len(starts))
        if self.apart and self.together > 1:
            order = self._by_length(order, lengths, draw)
        return starts[order], lengths[order]

    def _by_length(self, order: np.ndarray, lengths: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The order in runs of sequences of like length, themselves in an order by lot.

        Runs begin where batches do: the first fills the batch that the epoch before left unfinished.
        """
        size = self.together * SORTED
        parts = [order[at : at + size] for at in range(0, len(order), size)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        first = -self.epoch * len(order) % self.together
        runs = np.split(order, range(first, len(order), self.together))
        inner = draw.permutation(np.arange(1, max(1, len(runs) - 1)))
        return np.concatenate(
            [runs[at] for at in (0, *inner.tolist(), *range(max(1, len(runs) - 1), len(runs)))]
        )

    def mean_length(self) -> float:
        """Tokens of a sequence, its start and its end among them."""
        return float(self._texts[1].mean()) + 2

    def draw(self, size: int) -> list[DrawnText]:
        """The next `size` texts."""
        drawn: list[DrawnText] = []
        for places in self._runs(size):
            starts, lengths = (numbers[places.start : places.stop].tolist() for numbers in self._texts)
            drawn += map(DrawnText, repeat(self.epoch), places, starts, lengths)
        return drawn

    def skip(self, size: int) -> int:
        """Go on as if the next `size` texts had been drawn; returns the tokens of their sequences."""
        return sum(
            int(self._texts[1][places.start : places.stop].sum()) + 2 * len(places)
            for places in self._runs(size)
        )

    @property
    def epochs_read(self) -> float:
        """How many times the stream was read so far."""
        return self.epoch + self.taken / len(self._texts[0])

    def _runs(self, size: int) -> Iterator[range]:
        """The places of the next `size` texts, those of each epoch together; `epoch` is theirs."""
        while size > 0:
            if self.taken == len(self._texts[0]):
                self.epoch, self.taken = self.epoch + 1, 0
                self._texts = self._drawn()
            places = range(self.taken, min(self.taken + size, len(self._texts[0])))
            self.taken, size = places.stop, size - len(places)
            yield places

    def row(self, drawn: DrawnText) -> MaskedRow:
        """A text that was drawn, masked by what its epoch and its place there determine."""
        text = self.split.tokens[drawn.start : drawn.start + drawn.length]
        random = np.random.default_rng((self.seed, drawn.epoch, drawn.place + 1))
        return self.masking.row(text, random)

    def rows(self, size: int, share: slice = slice(None)) -> list[MaskedRow]:
        """As `batch`, before they are put together."""
        return [self.row(drawn) for drawn in self.draw(size)[share]]

    def batch(self, size: int, share: slice = slice(None)) -> Batch:
        """The next `size` sequences, of which the `share` is read by this one of several processes."""
        return self.masking.collate(self.rows(size, share), self.context)


def validation_rows(
    split: Split, masking: Masking, context: int, seed: int, apart: bool
) -> Iterator[MaskedRow]:
    """The whole split in order, masked by the seed alone, so that evaluations can be compared."""
    starts, lengths = windows(split, context - 2, apart)
    for place, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        random = np.random.default_rng((seed, VALIDATION, place))
        yield masking.row(split.tokens[start : start + length], random)
