"""Formats: recognised from the columns, and how a record of each becomes a row."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.config import RowsConfig
from tasks.data.reading import Record, short
from tasks.errors import StageError
from tasks.rows import (
    choices,
    instruction_formats,
    labelled_texts,
    multi_label,
    questions,
    source_target,
    tagged_words,
)
from tasks.rows.fields import Columns, Fields, Format
from tasks.rows.row_kind import Row

FORMATS: dict[str, Format] = {
    "preference": instruction_formats.PREFERENCE,
    "alpaca": instruction_formats.ALPACA,
    "prompt-completion": instruction_formats.PROMPT_COMPLETION,
    "chat": instruction_formats.CHAT,
    "classification": labelled_texts.FORMAT,
    "multi-label": multi_label.FORMAT,
    "tokens": tagged_words.FORMAT,
    "questions": questions.FORMAT,
    "choices": choices.FORMAT,
    "source-target": source_target.FORMAT,
    "text": instruction_formats.TEXT,
}

# What marks an answer as one that is not to be learned, as `repr` has it: a label of 0 is another thing.
UNWANTED = {"label": ("False",), "kto_tag": ("False", "'False'", "'false'")}
MOST_LABELS = 20
LONGEST_LABEL = 40  # characters
PREFIXED = "source-target"
ASKING = ("prompt", "question", "query", "instruction", "problem", "input")
NUMBERING = re.compile(r"(.*_)?(id|idx|index|uid|uuid)")

ADVICE = (
    "Name the format and its columns, for example rows.format=classification and rows.columns={text: body, "
    "label: kind}; if the first line of a CSV or TSV is a row already, name the columns with rows.header."
)


@dataclass(frozen=True)
class Layout:
    """How the records of one file are to be read."""

    format: str
    columns: Columns
    separator: str = ""
    prefix: str = ""
    """What is put before every source."""

    @property
    def kind(self) -> str:
        return FORMATS[self.format].kind

    def row(self, record: Record) -> Row:
        """The record as a row, but for its id. Raises RowError saying what is wrong with it."""
        where, values = record
        paths = (column for column in self.columns.values() if column not in values and "." in column)
        deeper = {path: _value_at(values, path) for path in paths}
        fields = Fields(where, values | deeper, self.columns, self.separator)
        if self.kind == "completion":
            self._require_wanted(fields)
        row = FORMATS[self.format].row(fields)
        if self.prefix:
            row["instruction"] = self.prefix + row["instruction"]
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
    if missing := [column for column in mapped.values() if not {column, _outer(column)} & {*found}]:
        raise StageError(f"{name} has no column {missing[0]!r}, which rows.columns maps; {its_columns}.")
    # A column that is mapped goes by its new name only.
    seen = {column: column for column in found if column not in mapped.values()} | mapped
    advice = _suggestion(found, sample) or ADVICE
    chosen = (
        _recognised(name, seen, sample, its_columns, advice) if config.format == "auto" else config.format
    )
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
    if config.prefix and chosen != PREFIXED:
        raise StageError(
            f"rows.prefix is put before the sources of the format {PREFIXED}, and {name} is in the format "
            f"{chosen}. Leave it out, or set rows.format={PREFIXED} and name its columns with rows.columns"
        )
    return Layout(chosen, taken, config.separator, config.prefix)


def _outer(path: str) -> str:
    """The column that holds what a path leads to: `translation` of `translation.en`."""
    return path.partition(".")[0]


def _value_at(values: Mapping[str, Any], path: str) -> Any:
    """What stands deeper within a column, by its path; None where it leads nowhere."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _recognised(
    name: str, seen: Columns, sample: Sequence[Mapping[str, Any]], its_columns: str, advice: str
) -> str:
    """The one format that the columns fit, of those of the first level at which any does."""
    for level in sorted({each.level for each in FORMATS.values()}):
        fits = [
            each
            for each, format in FORMATS.items()
            if format.level == level
            and all(_fitting(seen, canonical, aliases) for canonical, aliases in format.needs.items())
            and format.accepts(_values(format, seen, sample))
        ]
        if len(fits) > 1:
            raise StageError(
                f"{name} fits the formats {' and '.join(fits)}: {its_columns}. Say which with rows.format."
            )
        if fits:
            return fits[0]
    expected = "; ".join(f"{each} ({', '.join(format.needs)})" for each, format in FORMATS.items())
    raise StageError(f"{name} is in no format that is known: {its_columns}; expected {expected}. {advice}")


def _values(format: Format, seen: Columns, sample: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What the sample has in each column that a format needs, by the format's names; not what is empty."""
    columns = {name: _fitting(seen, name, aliases)[0] for name, aliases in format.needs.items()}
    return {
        name: [row[column] for row in sample if row.get(column) is not None]
        for name, column in columns.items()
    }


def _suggestion(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    """What columns look like, for a person to say; empty where they look like nothing."""
    found = {
        column: [row[column] for row in sample if row.get(column) not in (None, "")] for column in columns
    }
    for column, values in found.items():
        if values and all(_is_translation(value) for value in values):
            one, other = values[0]
            return (
                f"If {column!r} holds translations, name their two languages: set rows.columns="
                f"{{source: {column}.{one}, target: {column}.{other}}}."
            )
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


def _is_translation(value: Any) -> bool:
    """Whether a value holds one sentence in two languages, as data sets of translations have them."""
    return isinstance(value, dict) and len(value) == 2 and all(isinstance(one, str) for one in value.values())


def _quoted(column: str) -> str:
    """A column's name as YAML has it within braces."""
    return column if re.fullmatch(r"[A-Za-z]\w*", column) else json.dumps(column, ensure_ascii=False)


def _fitting(seen: Columns, canonical: str, aliases: Iterable[str]) -> list[str]:
    """The file's columns that go by a name, whatever their case; by another name only if none does."""
    if canonical in seen:
        return [seen[canonical]]
    named = [column for known, column in seen.items() if known.casefold() == canonical]
    return named or [column for known, column in seen.items() if known.casefold() in aliases]
