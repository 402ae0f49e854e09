"""What a rows stage counts: `rows.json`, which the report card shows."""

from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from tasks.machine.json_files import Json, read_json, write_json

COUNTS = "rows.json"


class RowCounts(TypedDict):
    """What was read, what each split holds, and what was moved from one to another."""

    read: int
    kind: str
    formats: dict[str, int]
    distinct_prompts: int
    splits: dict[str, int]
    splits_are: Literal["own", "drawn"]
    moved: dict[str, int]
    """Rows that asked what training rows ask, by the split that they were moved from."""
    near: dict[str, int]
    source: dict[str, int]
    set_aside: int
    left_out: int
    synthetic: NotRequired[dict[str, int]]
    """Where a model made some of the rows: how many each split holds, and how many were left out (`left_out`)
    since they ask what test or validation rows ask, or are of a source of theirs."""
    sources: NotRequired[dict[str, Json]]
    """Where sources are mixed, what of each is trained on (`tasks/rows/mixing.py`)."""
    labels: NotRequired[dict[str, int]]
    """Of rows with labels: how many rows have each, and how many in each split."""
    split_labels: NotRequired[dict[str, dict[str, int]]]


def write_counts(folder: Path, counts: RowCounts) -> None:
    write_json(folder / COUNTS, counts)


def read_counts(folder: Path) -> RowCounts:
    return read_json(folder / COUNTS)
