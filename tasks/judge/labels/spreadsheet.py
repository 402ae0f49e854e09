"""Rows to be labelled as a CSV file, and the labels of such a file.

What a spreadsheet would take for a formula is kept from being one: a cell that begins with =, +, -, @, a tab
or a return gets an apostrophe before it (OWASP, CSV Injection). Only the columns `row`, `label` and `by` are
read back, so that what a spreadsheet makes of the texts does not matter.
"""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from tasks.errors import UsageError
from tasks.judge.labels.scale import LABELS, label_of
from tasks.judge.labels.store import LONGEST
from tasks.judge.protocol.responses import ResponseRow
from tasks.record.manifest import write_atomically

COLUMNS = ("row", "label", "by", "conversation", "instruction", "input", "reference", "response")
READ = ("row", "label")
NAMED = 12  # characters of the responses' digest before a row's id
DELIMITERS = ",;\t"  # that spreadsheets write, by the country they are set to
NUL = "\x00"

_FORMULA = re.compile(r"[\s'\"\ufeff]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


class ParsedAnswer(NamedTuple):
    """A label of a file, and by whom, where the file says it."""

    row: int
    label: int
    by: str


def write_spreadsheet(
    path: Path, of: str, rows: Sequence[ResponseRow], given: Mapping[int, int], by: str
) -> None:
    """A line a row, with the labels that a person has given; `of` is the responses' digest.

    Raises UsageError for a file that is there: a person may have filled it in.
    """
    if path.exists():
        raise UsageError(
            f"{path} is there already, and may hold labels that were not taken yet: --from {path} takes "
            "them. Name another file with --output"
        )
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        turns = "\n\n".join(f"{turn.role}: {turn.content}" for turn in row.before)
        cells = (turns, row.instruction, row.input, row.reference, row.response)
        writer.writerow(
            [f"{of[:NAMED]}/{row.id}", given.get(row.id, ""), _harmless(by), *map(_harmless, cells)]
        )
    try:
        write_atomically(path, b"\xef\xbb\xbf" + text.getvalue().encode())  # spreadsheets guess without
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name another file with --output"
        ) from error


def _harmless(text: str) -> str:
    text = text.replace(NUL, "\\x00")
    return f"'{text}" if _FORMULA.match(text) else text


def read_spreadsheet(path: Path, of: str, known: Collection[int], by: str) -> list[ParsedAnswer]:
    """The labels of a file, all or none: rows without one are left out.

    Raises UsageError for a file that cannot be read, and naming the line of whatever is malformed: all of
    them, the first ten in words.
    """
    faults: list[str] = []
    found: dict[int, ParsedAnswer] = {}
    lines: dict[int, int] = {}
    for line, cells in _lines(path):
        row = _row(cells["row"], of)
        text = cells["label"].strip()
        label = label_of(text)
        name = (cells.get("by") or "").strip().removeprefix("'") or by
        if row is None:
            expected = f"{of[:NAMED]}/ and a number, as `touchstone label` wrote it"
            faults.append(
                f"line {line}: row {cells['row']!r:.60} is none of these responses; expected {expected}"
            )
        elif row not in known:
            faults.append(f"line {line}: row {row} was not drawn to be labelled")
        elif row in lines:
            faults.append(f"line {line}: row {row} stands in line {lines[row]} already")
        elif text and label is None:
            faults.append(
                f"line {line}: the label {text!r:.40} is no whole number from {LABELS[0]} to {LABELS[-1]}"
            )
        elif len(name) > LONGEST:
            faults.append(f"line {line}: by has {len(name)} characters; at most {LONGEST} are kept")
        else:
            lines[row] = line
            if label is not None:
                found[row] = ParsedAnswer(row, label, name)
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise UsageError(f"{path}: {'; '.join(faults[:10])}{more}. No label was taken from it")
    return list(found.values())


def _row(text: str, of: str) -> int | None:
    digest, _, row = text.strip().removeprefix("'").partition("/")
    return int(row) if digest == of[:NAMED] and re.fullmatch(r"\d{1,18}", row) else None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Every row by its columns, with the line that it begins in."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: byte {error.start} is no part of it. Save it as CSV UTF-8"
        ) from error
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if columns is None:
                columns = [cell.strip().casefold() for cell in cells]
                if missing := [name for name in READ if columns.count(name) != 1]:
                    raise UsageError(
                        f"{path}, line 1: expected one column {' and one '.join(missing)}; found "
                        f"{', '.join(columns)}"
                    )
            elif any(cell.strip() for cell in cells):
                if len(cells) != len(columns):
                    raise UsageError(f"{path}, line {begins}: {len(cells)} cells, expected {len(columns)}")
                yield begins, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {line}: {error}") from error
    if columns is None:
        raise UsageError(f"{path} is empty; expected the columns {', '.join(COLUMNS)}")
