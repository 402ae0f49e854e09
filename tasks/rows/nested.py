"""Records that hold several rows, or spread one value over columns, as they come; each becomes plain records.

SQuAD's JSON is a list of articles, each with paragraphs, each with questions on it. Multiple choice often
comes with a column for each choice.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.data.reading import OnMalformed, Record, RowError, short, type_of

# SWAG, HellaSwag's kind, PIQA, COPA, CosmosQA, Social IQa, and what spreadsheets call them.
_CHOICE = re.compile(r"(ending|choice|option|sol|answer)[ _]?(\d|[a-h])")


def plain_records(records: Iterable[Record], malformed: OnMalformed) -> Iterator[Record]:
    """The records, each question of SQuAD's nested JSON as one, choices in columns of their own as a list.

    What is nested otherwise than SQuAD's is `malformed`.
    """
    for record in records:
        if "paragraphs" in record[1] or "qas" in record[1]:
            yield from _questions(record, malformed)
        else:
            yield _with_choices(record)


def _questions(record: Record, malformed: OnMalformed) -> Iterator[Record]:
    where, values = record
    paragraphs, named = [values], [where]
    try:
        if "paragraphs" in values:
            paragraphs = _objects(where, "paragraphs", values["paragraphs"])
            named = [f"{where}, paragraph {number}" for number in range(1, len(paragraphs) + 1)]
    except RowError as error:
        malformed(error)
        return
    shared = {name: values[name] for name in ("title",) if name in values}
    for paragraph, place in zip(paragraphs, named, strict=True):
        try:
            found = _objects(place, "qas", paragraph.get("qas"))
        except RowError as error:
            malformed(error)
            continue
        for number, question in enumerate(found, 1):
            yield f"{place}, question {number}", shared | {"context": paragraph.get("context")} | question


def _objects(where: str, name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise RowError(
            where,
            f"{name!r} should be a list of objects, as in SQuAD; found {type_of(value)}: {short(value)}",
        )
    return value


def _with_choices(record: Record) -> Record:
    where, values = record
    if "choices" in values:
        return record
    series: dict[str, dict[str, str]] = {}
    for column in values:
        if match := _CHOICE.fullmatch(str(column).casefold()):
            series.setdefault(match[1], {})[match[2]] = column
    for columns in series.values():
        if len(columns) > 1 and sorted(columns) in (
            _run("0", columns),
            _run("1", columns),
            _run("a", columns),
        ):
            found = [values[columns[key]] for key in sorted(columns)]
            given = [value for value in found if value not in (None, "")]  # some questions have fewer
            return where, values | {"choices": found if None in found[: len(given)] else given}
    return record


def _run(first: str, columns: dict[str, str]) -> list[str]:
    """As many signs as there are columns, from `first` on."""
    return [chr(ord(first) + number) for number in range(len(columns))]
