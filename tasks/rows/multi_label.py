"""Texts, or pairs of texts, with any number of labels."""

from typing import Any

from tasks.data.reading import short, type_of, whole_characters
from tasks.rows.fields import Fields, Format, from_json, is_list
from tasks.rows.labelled_texts import TEXTS, parts
from tasks.rows.row_kind import Row, RowKind

NAME = "multi-label"


def _row(fields: Fields) -> Row:
    pair = {"text_pair": fields.text("text_pair")} if "text_pair" in fields.columns else {}
    return {"text": fields.text("text"), **pair, "labels": sorted(set(_labels(fields)))}


def _labels(fields: Fields) -> list[str]:
    """A list, one written as JSON, or text that is cut at `rows.separator`; it may be empty."""
    value, column = fields.value("labels"), fields.columns["labels"]
    if isinstance(value, str) and fields.separator:
        value = [part for part in map(str.strip, value.split(fields.separator)) if part]
    elif isinstance(value, str):
        value = from_json(value)
    if not isinstance(value, list):
        raise fields.fault(
            f"{column!r} should be a list of labels, found {type_of(fields.value('labels'))}: "
            f"{short(fields.value('labels'))}. Where labels stand in one text, set rows.separator to what is "
            "between them"
        )
    return [_label(fields, column, one) for one in value]


def _label(fields: Fields, column: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise fields.fault(f"{column!r} should hold labels (text or whole numbers), found {short(value)}")
    return whole_characters(fields.where, f"{column!r}", value.strip())


KIND = RowKind(
    NAME,
    mark="labels",
    parts=parts,
    answer=lambda row: ", ".join(row["labels"]),
    labels=lambda row: row["labels"],
    is_labelled=True,
)
FORMAT = Format(
    NAME,
    _row,
    {
        "text": TEXTS["text"],
        "labels": ("label", "classes", "categories", "topics", "genres", "class", "category"),
    },
    {"text_pair": TEXTS["text_pair"]},
    accepts=lambda values: bool(values["labels"]) and all(map(is_list, values["labels"])),
)
