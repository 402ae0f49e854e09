"""Formats: recognised from the columns, and how a record of each becomes a row."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.config import RowsConfig
from tasks.data.reading import Message, Record, RowError, short, text_field, type_of, whole_characters
from tasks.errors import StageError
from tasks.rows.canonical import Row, is_splittable
from tasks.rows.conversations import as_row, messages_of, pairs_of, transcript

Columns = Mapping[str, str]
"""What a format calls a column, and what the file does."""


@dataclass(frozen=True)
class Fields:
    """A record's values by the names of its format. A column that the file lacks is empty."""

    where: str
    values: dict[str, Any]
    columns: Columns

    def text(self, name: str, *, required: bool = True) -> str:
        """Raises RowError when it is not text, or empty though required."""
        if name not in self.columns:
            return ""
        return text_field((self.where, self.values), self.columns[name], required=required)

    def value(self, name: str) -> Any:
        return self.values.get(self.columns.get(name))

    def messages(self, name: str) -> list[Message]:
        return messages_of(self.where, self.columns[name], self.value(name))

    def fault(self, why: str) -> RowError:
        return RowError(self.where, why)


def _before(fields: Fields) -> list[Message]:
    """The turns that columns of their own hold: the system's, and what was said before."""
    system = fields.text("system", required=False)
    turns = [{"role": "system", "content": system}] if system.strip() else []
    if history := fields.value("history"):
        turns += pairs_of(fields.where, fields.columns["history"], history)
    return turns


def _joined(fields: Fields, before: list[Message], turns: list[Message]) -> list[Message]:
    if before and turns[0]["role"] == "system":
        raise fields.fault(
            "the system speaks twice, in the first turn and in a column; leave one of them out"
        )
    return before + turns


def _turn(role: str, content: str) -> list[Message]:
    return [{"role": role, "content": content}]


def _turns(fields: Fields, name: str, role: str) -> list[Message]:
    """A column's text as one turn of `role`, or its turns when it holds some."""
    if isinstance(fields.value(name), list | dict):
        return fields.messages(name)
    return _turn(role, fields.text(name))


def _alpaca(fields: Fields) -> Row:
    asked = _turn("user", fields.text("instruction"))
    given = fields.text("input", required=False)
    answered = _turn("assistant", fields.text("output"))
    return as_row(fields.where, _before(fields) + asked + answered) | {"input": given}


def _prompt_completion(fields: Fields) -> Row:
    prompt, completion = _turns(fields, "prompt", "user"), _turns(fields, "completion", "assistant")
    row = as_row(fields.where, _joined(fields, _before(fields), prompt) + completion)
    return row | {"input": fields.text("input", required=False)}


def _chat(fields: Fields) -> Row:
    return as_row(fields.where, _joined(fields, _before(fields), fields.messages("messages")))


def _preference(fields: Fields) -> Row:
    *shared, chosen = _answered(fields, "chosen")
    *also_shared, rejected = _answered(fields, "rejected")
    if shared != also_shared:
        raise fields.fault(
            "'chosen' and 'rejected' answer different conversations; only the last turn may differ"
        )
    if chosen["content"].strip() == rejected["content"].strip():
        raise fields.fault("'chosen' and 'rejected' are the same, so neither can be preferred")
    row = as_row(fields.where, [*shared, chosen])
    as_row(fields.where, [*shared, rejected])
    return row | {
        "input": fields.text("input", required=False),
        "output": fields.text("output", required=False) or chosen["content"],
        "chosen": chosen["content"],
        "rejected": rejected["content"],
    }


def _answered(fields: Fields, name: str) -> list[Message]:
    """The whole conversation that ends with a column's answer, which may hold the prompt itself."""
    prompt = next((each for each in ("instruction", "prompt", "messages") if each in fields.columns), None)
    if prompt is None and isinstance(fields.value(name), str):
        turns = transcript(fields.where, fields.columns[name], fields.text(name))
    else:
        turns = _turns(fields, name, "assistant")
    if len(turns) > 1:
        return _joined(fields, _before(fields), turns)
    if prompt is None:
        raise fields.fault(f"{name!r} is one turn, and no column holds the prompt; name it with rows.columns")
    asked = fields.messages(prompt) if prompt == "messages" else _turns(fields, prompt, "user")
    return _joined(fields, _before(fields), asked) + turns


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


def _text(fields: Fields) -> Row:
    text = fields.text("text")
    if not is_splittable(text):
        raise fields.fault(f"the text has fewer than 2 words, so it cannot be asked to go on: {short(text)}")
    return {"instruction": "", "input": "", "output": text, "plain": True}


@dataclass(frozen=True)
class Format:
    """What a format's rows are, the columns it needs and may have, each with other names it goes by."""

    kind: str
    row: Callable[[Fields], Row]
    needs: dict[str, tuple[str, ...]]
    may_have: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        return self.needs | self.may_have | {"category": ()}


FORMATS = {
    "preference": Format(
        "preference",
        _preference,
        {"chosen": (), "rejected": ()},
        {
            "instruction": (),
            "input": ("context",),
            "output": (),
            "prompt": ("question", "query"),
            "messages": ("conversations", "conversation"),
            "system": (),
            "history": (),
        },
    ),
    "alpaca": Format(
        "completion",
        _alpaca,
        {"instruction": (), "output": ("response",)},
        {"input": ("context",), "system": (), "history": ()},
    ),
    "prompt-completion": Format(
        "completion",
        _prompt_completion,
        {"prompt": ("question", "query"), "completion": ("response", "answer")},
        {"input": ("context",), "system": (), "history": ()},
    ),
    "chat": Format("completion", _chat, {"messages": ("conversations", "conversation")}, {"system": ()}),
    "classification": Format(
        "classification",
        _classification,
        {
            "text": (*"sentence message sms review content".split(), *"sentence1 premise question1".split()),
            "label": ("class", "target", "category", "sentiment"),
        },
        {"text_pair": ("sentence2", "hypothesis", "question2")},
    ),
    "text": Format("completion", _text, {"text": ()}),
}

# What marks an answer as one that is not to be learned, as `repr` has it: a label of 0 is another thing.
UNWANTED = {"label": ("False",), "kto_tag": ("False", "'False'", "'false'")}
MOST_LABELS = 20
LONGEST_LABEL = 40  # characters
ASKING = ("prompt", "question", "query", "instruction", "problem", "input")
NUMBERING = re.compile(r"(.*_)?(id|idx|index|uid|uuid)")

ADVICE = (
    "Name the format and its columns, for example rows.format=classification and rows.columns={text: body, "
    "label: kind}; if the first line of a CSV or TSV is a row already, name the columns with rows.header."
)

LEVELS = (("preference",), ("alpaca", "prompt-completion", "chat", "classification"), ("text",))
"""A format is recognised only where none of an earlier level is: many data sets carry a `text` as well."""


@dataclass(frozen=True)
class Layout:
    """How the records of one file are to be read."""

    format: str
    columns: Columns

    @property
    def kind(self) -> str:
        return FORMATS[self.format].kind

    def row(self, record: Record) -> Row:
        """The record as a row, but for its id. Raises RowError saying what is wrong with it."""
        fields = Fields(*record, self.columns)
        if self.kind == "completion":
            self._require_wanted(fields)
        row = FORMATS[self.format].row(fields)
        category = fields.text("category", required=False)
        return row | ({"category": category} if category else {})

    def _require_wanted(self, fields: Fields) -> None:
        for column, marks in UNWANTED.items():
            if column not in self.columns.values() and repr(fields.values.get(column)) in marks:
                raise fields.fault(
                    f"its answer is marked as a bad one ({column!r} is false, as for KTO), and would be "
                    "learned like a good one; leave such rows out, or the column where it says something else"
                )


def check_columns(config: RowsConfig) -> None:
    """Raises StageError when `rows.columns` maps a name that the named format, or every format, lacks."""
    if config.format == "auto":
        every = {name: () for each in FORMATS.values() for name in each.columns}
        _check_mapped(config, every, "any format")
    else:
        _check_mapped(config, FORMATS[config.format].columns, f"the format {config.format}")


def _check_mapped(config: RowsConfig, names: Iterable[str], what: str) -> None:
    if unknown := [name for name in config.columns if name not in names]:
        raise StageError(
            f"rows.columns maps {unknown[0]!r}, which is no column of {what}; expected {', '.join(names)}."
        )


def layout_of(
    name: str, columns: Iterable[str], config: RowsConfig, sample: Sequence[Mapping[str, Any]] = ()
) -> Layout:
    """How a file with these columns is to be read, as `config` says or as its columns do.

    Raises StageError that lists the columns when they fit no format, more than one, or not what is asked; it
    says which columns of the `sample` look like those that are lacking.
    """
    found, mapped = list(columns), config.columns
    its_columns = f"its columns are {', '.join(map(short, found)) or 'none'}"
    if missing := [column for column in mapped.values() if column not in found]:
        raise StageError(f"{name} has no column {missing[0]!r}, which rows.columns maps; {its_columns}.")
    # A column that is mapped goes by its new name only.
    seen = {column: column for column in found if column not in mapped.values()} | mapped
    advice = _suggestion(found, sample) or ADVICE
    chosen = _recognised(name, seen, its_columns, advice) if config.format == "auto" else config.format
    names = FORMATS[chosen].columns
    _check_mapped(config, names, f"the format {chosen}, which {name} is in")
    taken: dict[str, str] = {}
    for canonical, aliases in names.items():
        fitting = [column for column in _fitting(seen, canonical, aliases) if column not in taken.values()]
        if len(fitting) > 1:
            raise StageError(
                f"{name}: {' and '.join(map(repr, fitting))} could each be the {canonical} of {chosen}. Say "
                f"which is, for example: rows.columns={{{canonical}: {fitting[0]}}}"
            )
        if fitting:
            taken[canonical] = fitting[0]
        elif canonical in FORMATS[chosen].needs:
            raise StageError(
                f"{name}: the format {chosen} needs a column {canonical!r}, and {its_columns}. {advice}"
            )
    return Layout(chosen, taken)


def _recognised(name: str, seen: Columns, its_columns: str, advice: str) -> str:
    for level in LEVELS:
        fits = [
            each
            for each in level
            if all(_fitting(seen, canonical, aliases) for canonical, aliases in FORMATS[each].needs.items())
        ]
        if len(fits) > 1:
            raise StageError(
                f"{name} fits the formats {' and '.join(fits)}: {its_columns}. Say which with rows.format."
            )
        if fits:
            return fits[0]
    expected = "; ".join(f"{each} ({', '.join(format.needs)})" for each, format in FORMATS.items())
    raise StageError(f"{name} is in no format that is known: {its_columns}; expected {expected}. {advice}")


def _suggestion(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    """What columns look like, for a person to say; empty where they look like nothing."""
    found = {
        column: [row[column] for row in sample if row.get(column) not in (None, "")] for column in columns
    }
    texts, labels = [], {}
    for column, values in found.items():
        plain = [str(value) for value in values if isinstance(value, str | int)]
        if not column or len(plain) < len(values) or len(plain) < max(2, len(sample) // 2):
            continue
        distinct = dict.fromkeys(plain)
        if 1 < len(distinct) <= min(MOST_LABELS, len(plain) / 2) and max(map(len, distinct)) <= LONGEST_LABEL:
            labels[column] = list(distinct)
        elif all(isinstance(value, str) for value in values) and not NUMBERING.fullmatch(column.casefold()):
            texts.append(column)
    if texts and labels:
        label, values = next(iter(labels.items()))
        texts.sort(key=lambda column: -sum(map(len, found[column])))
        return (
            f"{label!r} looks like a label ({', '.join(map(short, values[:4]))}) and {texts[0]!r} like its "
            f"text: if that is so, set rows.columns={{label: {_quoted(label)}, text: {_quoted(texts[0])}}}."
        )
    if len(texts) > 1:
        prompt, completion, *_ = sorted(texts, key=lambda column: column.casefold() not in ASKING)
        return (
            f"If {prompt!r} asks and {completion!r} answers, set rows.columns="
            f"{{prompt: {_quoted(prompt)}, completion: {_quoted(completion)}}}."
        )
    return ""


def _quoted(column: str) -> str:
    """A column's name as YAML has it within braces."""
    return column if re.fullmatch(r"[A-Za-z]\w*", column) else json.dumps(column, ensure_ascii=False)


def _fitting(seen: Columns, canonical: str, aliases: Iterable[str]) -> list[str]:
    """The file's columns that go by a name, whatever their case; by another name only if none does."""
    if canonical in seen:
        return [seen[canonical]]
    named = [column for known, column in seen.items() if known.casefold() == canonical]
    return named or [column for known, column in seen.items() if known.casefold() in aliases]
