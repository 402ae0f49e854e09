"""Texts, or pairs of texts, with a label."""

from tasks.data.reading import short, type_of, whole_characters
from tasks.rows.fields import Fields, Format, is_list
from tasks.rows.row_kind import Row, RowKind


def _classification(fields: Fields) -> Row:
    pair = {"text_pair": fields.text("text_pair")} if "text_pair" in fields.columns else {}
    return {"text": fields.text("text"), **pair, "label": _label(fields)}


def _label(fields: Fields) -> str:
    value, column = fields.value("label"), fields.columns["label"]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():  # pandas makes 1 to 1.0 where another row has none
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise fields.fault(f"{column!r} is empty; expected a label")
    if not isinstance(value, str):
        raise fields.fault(
            f"{column!r} should be a label (text or whole number), found {type_of(value)}: {short(value)}"
        )
    return whole_characters(fields.where, f"{column!r}", value.strip())


def parts(row: Row) -> dict[str, str]:
    """One text or two."""
    return {name: row[name] for name in ("text", "text_pair") if name in row}


def _own_label(row: Row) -> str:
    return row["label"]


KIND = RowKind(
    "classification",
    mark="label",
    parts=parts,
    answer=_own_label,
    labels=lambda row: (row["label"],),
    stratum=_own_label,
    is_labelled=True,
)
TEXTS = {
    "text": (*"sentence message sms review content".split(), *"sentence1 premise question1".split()),
    "text_pair": ("sentence2", "hypothesis", "question2"),
}
FORMAT = Format(
    "classification",
    _classification,
    {"text": TEXTS["text"], "label": ("class", "target", "category", "sentiment")},
    {"text_pair": TEXTS["text_pair"]},
    accepts=lambda values: not (values["label"] and all(map(is_list, values["label"]))),
)
