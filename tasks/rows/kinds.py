"""The kinds of rows that are classified, and which of them a row is."""

from pathlib import Path

from tasks.machine.json_files import read_lines
from tasks.rows import choices, labelled_texts, multi_label, questions, tagged_words
from tasks.rows.row_kind import Row, RowKind

KINDS: tuple[RowKind, ...] = (
    questions.KIND,
    choices.KIND,
    tagged_words.KIND,
    multi_label.KIND,
    labelled_texts.KIND,
)
"""In the order in which a row is looked at: those of a label come last, whose field others may have too."""


def kind_of(row: Row) -> RowKind | None:
    """None for a row that a model learns to write."""
    return next((kind for kind in KINDS if kind.mark in row), None)


def kind_in(folder: Path) -> str | None:
    """What the rows are that the rows stage wrote to a folder, by the first of them."""
    for path in (folder / f"{split}.jsonl" for split in ("train", "validation", "test")):
        for row in read_lines(path) if path.exists() else ():
            kind = kind_of(row)
            return kind.name if kind else None
    return None


def kind_named(name: str) -> RowKind | None:
    """By what `rows.json` calls it."""
    return next((kind for kind in KINDS if kind.name == name), None)
