"""What benchmarks leave: the suite of tasks, a model's accuracies, and how it did on each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile, read_lines, write_lines

MEASURE = "acc"
"""Accuracy: whether the right choice is the likeliest."""

NORMED = "acc_norm"
"""Accuracy by the log-probability of each choice over its length in characters."""

MEASURES = (MEASURE, NORMED)
BITS = "bits_per_byte"
ITEMS = "items.jsonl"
QUESTIONS = "questions"  # of a suite, the folder with a file for each task of one's own


@dataclass(frozen=True, kw_only=True)
class Suite(JsonFile):
    """The tasks that are asked."""

    FILE: ClassVar[str] = "suite.json"

    lm_eval: str
    """The version of the package."""
    tasks: Sequence[Json]
    """Each `name`, `rows` and `shots`; of lm-eval also its `dataset`, `subset` and `split`."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkResults(JsonFile):
    """What a model came to on each task."""

    FILE: ClassVar[str] = "benchmark.json"

    tasks: Sequence[Json]
    """Each with what the suite says of it, and as `tasks/benchmark/summary.py` has it."""


def write_items(folder: Path, items: Sequence[Json]) -> None:
    write_lines(folder / ITEMS, items)


def read_items(folder: Path) -> list[Json]:
    """A row of a task each: `task`, `id`, `acc` (0 to 1), maybe `acc_norm`, `chance`; of the right answer
    `bits` and `bytes`; `source` where rows share a passage."""
    return read_lines(folder / ITEMS)


def write_questions(folder: Path, name: str, rows: Sequence[Json]) -> None:
    (folder / QUESTIONS).mkdir(exist_ok=True)
    write_lines(_file_of(folder, name), rows)


def read_questions(folder: Path, name: str) -> list[Json]:
    """Rows of one's own: `id`, `prompt`, `choices`, `answer` (a place), maybe `context` and `source`."""
    return read_lines(_file_of(folder, name))


def _file_of(folder: Path, name: str) -> Path:
    return folder / QUESTIONS / f"{name}.jsonl"
