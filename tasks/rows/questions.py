"""Questions on a passage whose answer stands in it: SQuAD's form, as it comes and as rows are written."""

from typing import Any

from tasks.data.reading import short, type_of, whole_characters
from tasks.rows.fields import Fields, Format
from tasks.rows.row_kind import Row, RowKind


def question_row(fields: Fields) -> Row:
    """`context`, `question`, and `answers`: their `text` and `answer_start`, empty where none is right.

    Raises RowError for an answer that does not stand in the context where its offset, counted in characters,
    says; and for one without an offset that does not stand there once.
    """
    context, question = fields.text("context"), fields.text("question")
    texts, starts = [], []
    for text, start in _answers(fields):
        texts.append(text)
        starts.append(_start(fields, context, text, start))
    if fields.value("is_impossible") is True and texts:
        raise fields.fault(
            f"'is_impossible' is true, and {short(texts[0])!r} is given as an answer; leave one of them out"
        )
    if fields.value("is_impossible") is False and not texts:
        raise fields.fault("'is_impossible' is false, and there is no answer; expected one at least")
    return {"context": context, "question": question, "answers": {"text": texts, "answer_start": starts}}


def _answers(fields: Fields) -> list[tuple[str, Any]]:
    """Each answer's text and its offset, None where there is none; of what SQuAD and `datasets` write."""
    value, column = fields.value("answers"), fields.columns["answers"]
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [_answer(fields, value, fields.value("answer_start"))]
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        texts, starts = value["text"], value.get("answer_start")
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise fields.fault(f"{column!r} has {len(texts)} texts and other than {len(texts)} answer_start")
        return [_answer(fields, text, start) for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise fields.fault(
            f"{column!r} should hold texts and offsets, found {type_of(value)}: {short(value)}"
        )
    return [
        _answer(fields, each.get("text"), each.get("answer_start"))
        if isinstance(each, dict)
        else _answer(fields, each, None)
        for each in value
    ]


def _answer(fields: Fields, text: Any, start: Any) -> tuple[str, Any]:
    if not isinstance(text, str) or not text.strip():
        raise fields.fault(
            f"an answer should be text of the context, found {type_of(text)}: {short(text)}; a question "
            "without an answer has an empty list of them"
        )
    return whole_characters(fields.where, "an answer", text), start


def _start(fields: Fields, context: str, text: str, start: Any) -> int:
    count = context.count(text)
    if start is None or start == "":
        if count != 1:
            raise fields.fault(
                f"the answer {short(text)!r} has no answer_start and stands {count} times in the context; "
                "expected its offset, or that it stands there once"
            )
        return context.index(text)
    if isinstance(start, str) and start.strip().isdecimal():  # of a CSV file
        start = int(start)
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if isinstance(start, bool) or not isinstance(start, int):
        raise fields.fault(f"answer_start should be a whole number, found {type_of(start)}: {short(start)}")
    if start < 0 or context[start : start + len(text)] != text:
        there = (
            repr(short(context[start : start + len(text)])) if 0 <= start < len(context) else "no character"
        )
        elsewhere = f"; it stands at {context.index(text)}" if count else "; it stands nowhere in it"
        raise fields.fault(
            f"the answer {short(text)!r} does not stand at its answer_start, {start}, where the context has "
            f"{there}{elsewhere}. Offsets count characters from 0"
        )
    return start


KIND = RowKind(
    "questions",
    mark="question",
    parts=lambda row: {name: row[name] for name in ("context", "question")},
    answer=lambda row: next(iter(row["answers"]["text"]), ""),
    source="context",
)
FORMAT = Format(
    "questions",
    question_row,
    {"context": ("passage",), "question": (), "answers": ()},
    {"answer_start": (), "is_impossible": ()},
    level=0,
)
