"""Rows as they are written: one form for each kind, whatever format they came in.

Each row has an `id`, from 0 in the order of the files, may have a `category`, and is one of these:

    completion       instruction, input (may be empty), output; the turns before those in `messages`. Where a
                     tool's result is the instruction, `asked_by` has the rest of that turn; `tools` are those
                     that could be called
    plain text       a completion whose instruction and input are empty, with `plain`: true
    preference       a completion with chosen and rejected
    classification   text, label; of two texts that are labelled together the second is text_pair
    questions        context, question, answers: their text and answer_start, none where none is right
    choices          prompt, choices, answer: the place of the right one; maybe the context of the prompt
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.data.containment import join_contained
from tasks.data.duplicates import WORD, Groups, folded, join_near_duplicates
from tasks.data.reading import spoken
from tasks.data.rewordings import join_rewordings
from tasks.machine.json_files import read_lines, write_lines
from tasks.rows.kinds import kind_of
from tasks.rows.row_kind import Row

SPLITS = ("train", "validation", "test")
LEFT_OUT = "left_out"

_SPACE = re.compile(r"(?<=\S)\s+(?=\S)")


def write_rows(path: Path, members: Iterable[Row]) -> None:
    """JSON Lines, Unicode as it is."""
    write_lines(path, members)


def load_split(folder: Path, split: str) -> list[Row]:
    """The rows of one split that `rows` wrote."""
    return read_lines(folder / f"{split}.jsonl")


def texts_of(folder: Path) -> Iterator[str]:
    """The texts of the training rows, and of those that balancing left out, as one learns from them."""
    yield from map(text_of, learned_rows(folder))


def learned_rows(folder: Path) -> list[Row]:
    """The training rows, and those that balancing left out."""
    paths = [folder / f"{name}.jsonl" for name in ("train", LEFT_OUT)]
    return [row for path in paths if path.exists() for row in read_lines(path)]


def text_of(row: Row) -> str:
    if kind_of(row):
        return "\n".join(_prompt_parts(row))
    turns = map(spoken, row.get("messages", ()))
    return "\n".join(filter(None, [*turns, row["instruction"], row["input"], row["output"]]))


def prompt_of(row: Row) -> tuple[str, ...]:
    """What makes two rows ask the same: the parts of their prompt, whatever their case and spacing.

    Of a labelled or a plain text that is the whole text, also when the plain text was opened for the test;
    of two that are labelled together these two, in their order.
    """
    return tuple(" ".join(folded(part).split()) for part in _prompt_parts(row))


def prompt_groups(rows: Sequence[Row]) -> list[int]:
    """For each row the first that asks the same, exactly, nearly or in other words, or by way of others."""
    groups, prompts = Groups(len(rows)), [_prompt_parts(row) for row in rows]
    join_near_duplicates(groups, prompts)
    answers = [answer_of(row) for row in rows]
    labelled = any(kind.is_labelled for row in rows if (kind := kind_of(row)))
    join_rewordings(groups, prompts, answers, labelled)
    if labelled:
        join_contained(groups, [text_of(row) for row in rows], answers)
    return groups.smallest().tolist()


def _prompt_parts(row: Row) -> tuple[str, ...]:
    if kind := kind_of(row):
        return tuple(kind.parts(row).values())
    if row.get("plain"):
        return (row["instruction"] + row["output"],)
    if messages := row.get("messages"):
        return row["instruction"], row["input"], "\n".join(map(spoken, messages))
    return row["instruction"], row["input"]


def answer_of(row: Row) -> str | None:
    """What a row's prompt asks for; None for a plain text, which is learned whole."""
    if row.get("plain"):
        return None
    if kind := kind_of(row):
        return kind.answer(row)
    return next(row[field] for field in ("output", "chosen") if field in row)


def is_splittable(text: str) -> bool:
    """Whether a plain text has two halves, of a word at least."""
    return len(WORD.findall(text)) > 1


def as_continuation(row: Row) -> Row:
    """A plain text cut in two, so that a model can be asked to go on; `instruction` + `output` is the text.

    The cut is at the space nearest the middle or, where no space is in its middle half (as in Chinese), at
    the word or character nearest the middle.
    """
    text, middle = row["output"], len(row["output"]) / 2
    cuts = [space.start() for space in _SPACE.finditer(text)]
    if not any(abs(cut - middle) <= middle / 2 for cut in cuts):
        cuts = [word.start() for word in WORD.finditer(text)][1:]
    cut = min(cuts, key=lambda cut: abs(cut - middle))
    return row | {"instruction": text[:cut], "output": text[cut:]}
