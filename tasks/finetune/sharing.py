"""How the rows of a step are shared out among processes that train together.

A step has the rows that it has in one process, in the same order: each process reads a share of them, as many
as the others do or one less. Where that leaves it without a row, it takes part with one that does not count.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard, SeedableRandomSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tasks.config import TuningConfig
from tasks.data.token_files import IGNORED

Item = TypeVar("Item")
Collate = Callable[[list[Any]], dict[str, Tensor]]


def micro_batches(config: TuningConfig, rows: int | None = None) -> int:
    """How many micro-batches each process does of a step of so many rows; of a whole step without them."""
    rows = config.batch_size * config.accumulation if rows is None else rows
    return math.ceil(math.ceil(rows / config.processes) / config.batch_size)


class Shares:
    """The micro-batches that one process reads in an epoch, as places in the data set.

    A place below zero, -1 - place, is of a row that does not count. The order is that of a trainer in one
    process.
    """

    def __init__(self, rows: int, config: TuningConfig, rank: int) -> None:
        self.sampler = SeedableRandomSampler(range(rows), data_seed=config.seed)
        self.config = config
        self.rank = rank

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        order, step = list(self.sampler), self.config.batch_size * self.config.accumulation
        for start in range(0, len(order), step):
            yield from self._of_step(order[start : start + step])

    def _of_step(self, rows: list[int]) -> Iterator[list[int]]:
        count, size = self.config.processes, self.config.batch_size
        own = rows[len(rows) * self.rank // count : len(rows) * (self.rank + 1) // count]
        pieces = [own[start : start + size] for start in range(0, len(own), size)]
        yield from pieces
        for _ in range(micro_batches(self.config, len(rows)) - len(pieces)):
            yield [-1 - rows[0]]

    def __len__(self) -> int:
        rows, step = len(self.sampler), self.config.batch_size * self.config.accumulation
        rest = micro_batches(self.config, rows % step)
        return rows // step * micro_batches(self.config) + rest


@dataclass(frozen=True)
class Uncounted:
    """A row that takes part in a step without counting."""

    row: Any


@dataclass(frozen=True)
class WithUncounted(Dataset):
    """The rows of a data set by their place, and below zero those that do not count."""

    rows: Sequence[Any]

    def __getitem__(self, place: int) -> Any:
        return self.rows[place] if place >= 0 else Uncounted(self.rows[-1 - place])

    def __len__(self) -> int:
        return len(self.rows)


def shared_loader(rows: Sequence[Any], collate: Collate, config: TuningConfig, rank: int) -> DataLoader:
    """The batches of one process, epoch after epoch."""

    def collated(members: list[Any]) -> dict[str, Tensor]:
        if isinstance(members[0], Uncounted):
            return without_targets(collate([members[0].row]))
        return collate(members)

    shares = Shares(len(rows), config, rank)
    return DataLoaderShard(WithUncounted(rows), batch_sampler=shares, collate_fn=collated)


def without_targets(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same batch with nothing in it to learn: no label, or no token of a completion."""
    if "labels" in batch:
        return {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}
    return {**batch, "completion_mask": torch.zeros_like(batch["completion_mask"])}


def rounds(batches: Iterable[Item], rank: int, count: int) -> Iterator[list[Item]]:
    """For each round in which every process does a batch, this one's; nothing where there is none left."""
    waiting: list[Item] = []
    for batch in batches:
        waiting.append(batch)
        if len(waiting) == count:
            yield waiting[rank : rank + 1]
            waiting = []
    if waiting:
        yield waiting[rank : rank + 1]


@contextmanager
def ungathered(accelerator: Accelerator) -> Iterator[None]:
    """Inside, what is gathered from all processes is what this one has.

    TRL gathers the numbers that it logs from batches that are of one size in every process. Ours are not, and
    of its numbers those that are kept are weighed by what they count (dpo.py).
    """
    accelerator.gather = accelerator.gather_for_metrics = lambda own, *_, **__: own
    try:
        yield
    finally:
        del accelerator.gather, accelerator.gather_for_metrics
