"""Sentences whose words have tags: names, parts of speech."""

from typing import Any

from tasks.data.reading import short, type_of, whole_characters
from tasks.rows.fields import Fields, Format
from tasks.rows.row_kind import Row, RowKind

NAME = "tokens"


def _row(fields: Fields) -> Row:
    words, tags = _texts(fields, "words"), _texts(fields, "tags")
    if not words:
        raise fields.fault(f"{fields.columns['words']!r} is empty; expected the words of a sentence")
    if len(words) != len(tags):
        raise fields.fault(
            f"{len(words)} words ({fields.columns['words']!r}) and {len(tags)} tags "
            f"({fields.columns['tags']!r}); expected a tag for each word"
        )
    return {"words": words, "tags": tags}


def _texts(fields: Fields, name: str) -> list[str]:
    value, column = fields.value(name), fields.columns[name]
    if not isinstance(value, list):
        raise fields.fault(f"{column!r} should be a list of {name}, found {type_of(value)}: {short(value)}")
    for one in value:
        if isinstance(one, int) and name == "tags":
            raise fields.fault(
                f"{column!r} holds numbers, and which tags they stand for is not told: {short(value)}. Give "
                "the tags by name, or the data set by its name in the hub, which knows them"
            )
        if not isinstance(one, str) or not one.strip():
            raise fields.fault(f"{column!r} should hold texts that are not empty, found {short(one)}")
    return [whole_characters(fields.where, f"{column!r}", one) for one in value]


def sentence(row: Row) -> str:
    """The words with spaces between them, whatever stood between them once."""
    return " ".join(row["words"])


def _are_lists(values: dict[str, list[Any]]) -> bool:
    return all(found and all(isinstance(one, list) for one in found) for found in values.values())


KIND = RowKind(
    NAME,
    mark="words",
    parts=lambda row: {"text": sentence(row)},
    labels=lambda row: row["tags"],
)
FORMAT = Format(
    NAME,
    _row,
    {"words": ("tokens", "form"), "tags": ("ner_tags", "pos_tags", "chunk_tags", "labels", "ner", "upos")},
    accepts=_are_lists,
    level=0,
)
