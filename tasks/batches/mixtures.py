"""Several sources, mixed by weights: the order in which sequences are drawn from them.

Each source has an order of its own, drawn by seed, and is read again from its beginning once it was read.
Which source a sequence is of follows from its number alone, and so does how often each was drawn before: a
training that is continued needs to know no more. The sources are halved by weight again and again, and of
the draws that reach a half its share, rounded, goes to the one part, and the rest to the other. So any run of
sequences has the shares that were asked for, but for a sequence or two of a source.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

from tasks.batches.blocks import Batch, Blocks, batch_at
from tasks.batches.masked import MaskedRow, MaskedSequences, Masking
from tasks.config import PretrainConfig
from tasks.data.token_files import Split, TokenFiles
from tasks.errors import StageError

Stream = TypeVar("Stream", Blocks, MaskedSequences)

WHOLE = 2**40  # in parts of which the shares of sources are counted


def draws_before(weights: Sequence[int], numbers: np.ndarray) -> np.ndarray:
    """How many draws are of each source before each of `numbers` (draws,): (sources, draws).

    Whole weights, and numbers that are integers of Python: however far a training gets, nothing is rounded
    but to whole draws, so that with each draw one source has one more.
    """
    if len(weights) == 1:
        return numbers[None]
    sums = list(accumulate(weights))
    whole = max(1, sums[-1])
    half = min(range(1, len(weights)), key=lambda count: abs(2 * sums[count - 1] - whole))
    first = (2 * numbers * sums[half - 1] + whole) // (2 * whole)
    return np.concatenate(
        [draws_before(weights[:half], first), draws_before(weights[half:], numbers - first)]
    )


@dataclass(frozen=True)
class MixtureOrder:
    """Which source each sequence of a training is drawn from."""

    begins: tuple[int, ...]
    """How many sequences are drawn before each phase, the first of which begins at 0."""
    weights: tuple[tuple[int, ...], ...]
    """Of each phase those of the sources, by sequences."""

    def counts(self, taken: int) -> np.ndarray:
        """How many of the first `taken` sequences are of each source (sources,)."""
        return self._before(np.array([taken], dtype=object))[:, 0]

    def sources(self, taken: int, size: int) -> np.ndarray:
        """The sources (size,) of the sequences behind the first `taken`."""
        numbers = np.arange(taken, taken + size + 1).astype(object)
        return np.diff(self._before(numbers), axis=1).argmax(axis=0)

    def _before(self, numbers: np.ndarray) -> np.ndarray:
        """As `draws_before`, over all phases."""
        ends = (*self.begins[1:], math.inf)
        reached = [
            np.minimum(np.maximum(numbers, begin), end) - begin
            for begin, end in zip(self.begins, ends, strict=True)
        ]
        return sum(map(draws_before, self.weights, reached)).astype(np.int64)


@dataclass(kw_only=True)
class Mixed(Generic[Stream]):
    """Sources that are drawn from in an order; `taken` sequences were drawn before."""

    streams: dict[str, Stream]
    """Each source from its beginning, by its name."""
    order: MixtureOrder
    taken: int
    epoch: int = 0
    """Of the whole there is one: each source has its own."""

    def __post_init__(self) -> None:
        counts = self.order.counts(self.taken).tolist()
        self.tokens_before = [
            stream.skip(count) for stream, count in zip(self.streams.values(), counts, strict=True)
        ]
        """Of each source, in the sequences that were drawn before."""

    def draw(self, size: int) -> tuple[np.ndarray, list[Sequence]]:
        """The sources of the next `size` sequences (size,), by number, and what is drawn from each source."""
        sources = self.order.sources(self.taken, size)
        self.taken += size
        counts = np.bincount(sources, minlength=len(self.streams)).tolist()
        streams = self.streams.values()
        return sources, [stream.draw(count) for stream, count in zip(streams, counts, strict=True)]


@dataclass(kw_only=True)
class MixedBlocks(Mixed[Blocks]):
    """Blocks of several sources, none of which holds text of two."""

    split: Split
    """In which the sources follow each other."""
    context: int
    apart: bool

    def batch(self, size: int, share: slice = slice(None)) -> Batch:
        """As `Blocks.batch`."""
        sources, drawn = self.draw(size)
        starts, begin = np.empty(size, dtype=np.int64), 0
        for number, (stream, own) in enumerate(zip(self.streams.values(), drawn, strict=True)):
            starts[sources == number] = own + begin
            begin += len(stream.split)
        return batch_at(self.split, starts[share], self.context, self.apart)


@dataclass(kw_only=True)
class MixedSequences(Mixed[MaskedSequences]):
    """Masked sequences of several sources."""

    masking: Masking
    context: int

    def mean_length(self) -> float:
        """Tokens of a sequence at the beginning of the training, its start and its end among them."""
        lengths = [stream.mean_length() for stream in self.streams.values()]
        return float(np.average(lengths, weights=self.order.weights[0]))

    def rows(self, size: int, share: slice = slice(None)) -> list[MaskedRow]:
        """As `MaskedSequences.rows`."""
        sources, drawn = self.draw(size)
        streams, waiting = list(self.streams.values()), [iter(own) for own in drawn]
        texts = [(streams[number], next(waiting[number])) for number in sources]
        return [stream.row(text) for stream, text in texts[share]]

    def batch(self, size: int, share: slice = slice(None)) -> Batch:
        """As `MaskedSequences.batch`."""
        return self.masking.collate(self.rows(size, share), self.context)


def causal_batches(
    config: PretrainConfig, files: TokenFiles, epoch: int = 0, taken: int = 0
) -> Blocks | MixedBlocks:
    """What a model that predicts the next token is trained on, from there on.

    Raises StageError for too little text, and for a mixture of other sources than the tokens have.
    """
    context, apart = config.context, config.document_mask
    if config.mixture is None:
        return Blocks(files.train, context, config.seed, apart, epoch, taken)
    streams = {
        name: Blocks(split, context, seed, apart, name=f"the source {name!r}")
        for name, split, seed in _sources(config, files)
    }
    order = _order(config, dict.fromkeys(streams, context))
    return MixedBlocks(
        streams=streams, order=order, taken=taken, split=files.train, context=context, apart=apart
    )


def masked_batches(
    config: PretrainConfig,
    files: TokenFiles,
    masking: Masking,
    epoch: int = 0,
    taken: int = 0,
    together: int = 1,
) -> MaskedSequences | MixedSequences:
    """What a masked language model is trained on, from there on; `together` as of `MaskedSequences`.

    Raises StageError as `causal_batches` does.
    """
    context, apart = config.context, config.document_mask
    if config.mixture is None:
        return MaskedSequences(files.train, masking, context, config.seed, apart, epoch, taken, together)
    streams = {
        name: MaskedSequences(
            split, masking, context, seed, apart, together=together, name=f"the source {name!r}"
        )
        for name, split, seed in _sources(config, files)
    }
    order = _order(config, {name: stream.mean_length() for name, stream in streams.items()})
    return MixedSequences(streams=streams, order=order, taken=taken, masking=masking, context=context)


def _sources(config: PretrainConfig, files: TokenFiles) -> Iterator[tuple[str, Split, int]]:
    """The sources of a mixture: names, training streams, and a seed for each."""
    found = files.sources("train")
    named = {name for phase in config.mixture_phases for name in phase.shares}
    if named - found.keys() or config.mixture.keys() != found.keys():
        raise StageError(
            f"pretrain.mixture and decay_mixture name {', '.join(sorted(named))}, and the sources of the "
            f"tokens are {', '.join(found) or 'not told apart (tokenize.sources)'}. Give each source of the "
            "corpus a weight"
        )
    for number, (name, split) in enumerate(found.items()):
        seed = np.random.SeedSequence((config.seed, number)).generate_state(1, np.uint64)[0]
        yield name, split, int(seed)


def _order(config: PretrainConfig, lengths: Mapping[str, float]) -> MixtureOrder:
    """By shares of tokens, of sources whose sequences have so many on average."""
    phases = config.mixture_phases
    weights = []
    for phase in phases:
        own = [phase.shares.get(name, 0.0) / length for name, length in lengths.items()]
        weights.append(tuple(round(weight / sum(own) * WHOLE) for weight in own))
    return MixtureOrder(tuple(phase.begins for phase in phases), tuple(weights))


@dataclass(frozen=True)
class SourceRead:
    """How much a training reads of one source."""

    source: str
    documents: int
    tokens: int
    """Of its training split."""
    share: float
    """Of the training's tokens, as asked for."""
    decay_share: float | None
    """The same in the steps in which the rate falls, where that is another."""
    tokens_read: int
    share_read: float
    epochs: float
    """How many times it was read."""


def sources_read(config: PretrainConfig, files: TokenFiles, mixed: Mixed) -> list[SourceRead]:
    """What was read of each source before the place where `mixed` stands; nothing was drawn from it yet."""
    first, *later = config.mixture_phases
    total = max(1, sum(mixed.tokens_before))
    return [
        SourceRead(
            source=name,
            documents=files.facts["train"]["sources"][name]["documents"],
            tokens=len(stream.split),
            share=first.shares[name],
            decay_share=later[0].shares.get(name, 0.0) if later else None,
            tokens_read=tokens,
            share_read=tokens / total,
            epochs=stream.epochs_read,
        )
        for (name, stream), tokens in zip(mixed.streams.items(), mixed.tokens_before, strict=True)
    ]
