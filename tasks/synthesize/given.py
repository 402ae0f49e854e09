"""Rows of people's that a synthesis starts from, and the tasks that are made of sources."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.config import SynthesizeConfig
from tasks.errors import StageError, UsageError
from tasks.judge.protocol.responses import ResponseRow, read_rows
from tasks.synthesize.passages import Passage
from tasks.synthesize.prompts import INPUT, PASSAGE, QUESTION, Task

ATTEMPTS = 2  # seeds of a task: the second is for an answer that could not be read


def given_rows(folder: Path | None, config: SynthesizeConfig) -> list[ResponseRow]:
    """The given rows, none where a synthesis needs none.

    Raises StageError for rows that the kind cannot be made of.
    """
    if folder is None:
        return []
    rows = read_rows(folder)
    if config.asks_passages:
        return rows
    for row in rows:
        if row.before:
            raise StageError(
                f"given row {row.id} has turns before its instruction; expected single questions, since a "
                "prompt holds one. Leave conversations out"
            )
        if config.kind != "answers" and not row.reference.strip():
            why = "its rewording would be trained on" if config.kind == "rewordings" else "two are ordered by"
            raise StageError(
                f"given row {row.id} has no answer, which {why}; expected one in each row of kind: "
                f"{config.kind}. Name the column with --column output=COLUMN, or leave such rows out"
            )
    return rows


def texts_of_passage(passage: Passage) -> Mapping[str, str]:
    return {PASSAGE: passage.text}


def texts_of_row(row: ResponseRow, config: SynthesizeConfig) -> Mapping[str, str]:
    """A rewording is of the instruction alone: the input stays as it is."""
    if config.kind == "rewordings":
        return {QUESTION: row.instruction, INPUT: row.input}
    return {QUESTION: "\n\n".join(row.question), INPUT: row.input}


def tasks_of(texts: Sequence[Mapping[str, str]], config: SynthesizeConfig) -> list[Task]:
    """As many tasks as are asked for, spread evenly over the sources, each with a seed of its own.

    Raises UsageError when the sources cannot give so many.
    """
    sources = len(texts)
    each = config.per_source if config.kind in ("questions", "rewordings") else 1
    count = config.count or sources
    what = "passage" if config.asks_passages else "given row"
    if count > sources * each:
        advice = (
            "Ask for fewer, raise synthesize.per_source"
            + (" or lower synthesize.passage_words" if config.asks_passages else "")
            if each > 1
            else "Ask for fewer, or give more rows"
        )
        raise UsageError(
            f"{count} rows are asked for, and {sources} {what}{'s' if sources > 1 else ''} give "
            f"{sources * each} at most, {each} each. {advice}"
        )
    places = [number * sources // count for number in range(count)]
    return [
        Task(number, texts[place], config.seed + ATTEMPTS * number, place)
        for number, place in enumerate(places)
    ]
