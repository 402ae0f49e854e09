"""Records of tables: comma- or tab-separated text, Parquet and Arrow."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.data.reading import OnMalformed, Record, RowError, text_lines
from tasks.data.source_files import compression_of
from tasks.errors import StageError

if TYPE_CHECKING:  # a tenth of a second
    from pyarrow import RecordBatch, Schema

Quoting = Literal["auto", "quotes", "none"]

FIRST_LINES = 100  # of a TSV file, which tell whether its fields are in quotes
PARQUET_ROWS = 1000  # of a batch
LONGEST_FIELD = min(sys.maxsize, 2**31 - 1)  # characters; a C long is 32 bits on Windows

_IN_QUOTES = re.compile(r'"(?:[^"]|"")*"')

Line = tuple[int, list[str], str]
"""The number of the line that a row begins in, its fields, and what is wrong with its quotes, if anything."""


def read_delimited(
    path: Path,
    name: str,
    delimiter: str,
    quoting: Quoting,
    header: Sequence[str],
    malformed: OnMalformed,
    *,
    encoding: str = "",
) -> Iterator[Record]:
    """Rows of a CSV or TSV file by their columns; a row with another number of fields is `malformed`.

    The columns are those of `header` or, when that is empty, of the first line. With quoting "none" a quote
    is a character like any other, and nothing but a line's end ends a row; "auto" is that for TSV, unless
    its first lines are written with quotes like those of a CSV.

    Raises StageError for a header that is wrong, and for quotes that leave open where rows end.
    """
    bare = text_lines(path, name, encoding=encoding, keep_returns=True)
    if quoting == "auto":
        rows = islice(text_lines(path, name, encoding=encoding), 0 if header else 1, FIRST_LINES)
        quoting = "quotes" if delimiter == "," or _in_quotes(rows, delimiter) else "none"
    lines = (_split if quoting == "none" else _quoted)(bare, name, delimiter)
    if header:
        columns = list(header)
    else:
        line, columns, fault = next(lines, (1, [], ""))
        columns = [column.strip() for column in columns]
        if fault:
            raise StageError(f"{name}, line {line}, in which the columns are named: {fault}")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise StageError(
            f"{name}: the column {twice[0]!r} is there twice, among {', '.join(columns)}. Rename one of "
            "them, or, if that line is a row, name the columns with rows.header."
        )
    number = 0
    for number, (line, fields, fault) in enumerate(lines, 1):
        where = f"{name}, row {number} (line {line})"
        if number == 1 and header and [field.strip() for field in fields] == columns:
            raise StageError(f"{name} has the header that rows.header names; leave rows.header out.")
        if fault:
            malformed(RowError(where, fault))
        elif len(fields) != len(columns):
            expected = f"{len(columns)} ({', '.join(columns)})"
            quotes = quoting == "none" and any('"' in field for field in fields)
            hint = "; if quotes hold its fields together, set rows.quoting=quotes" if quotes else ""
            malformed(RowError(where, f"{len(fields)} fields, expected {expected}{hint}"))
        else:
            yield where, dict(zip(columns, fields, strict=True))
    if not number:
        raise StageError(f"{name} holds a header and no row; expected at least one.")


def _in_quotes(rows: Iterable[str], delimiter: str) -> bool:
    """Whether quotes hold fields of these rows: all fields, or those in which quotes are doubled."""
    fields = [field for row in rows if row for field in row.split(delimiter)]
    with_quotes = [field for field in fields if '"' in field]
    if not with_quotes or not all(map(_IN_QUOTES.fullmatch, with_quotes)):
        return False
    return with_quotes == fields or any('""' in field[1:-1] for field in with_quotes)


def _split(bare: Iterable[str], _name: str, delimiter: str) -> Iterator[Line]:
    for number, line in enumerate(bare, 1):
        if line := line.removesuffix("\r"):
            yield number, line.split(delimiter), ""


def _quoted(bare: Iterable[str], name: str, delimiter: str) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)  # of the process; the default cuts off at 131,072
    lines = (f"{line}\n" for line in bare)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begun = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = f"its quotes are wrong ({error})".replace("\t", "tab")
            if reader.line_num > begun:  # whatever rows stand in between would be lost
                raise StageError(
                    f"{name}, in the row that begins in line {begun}: {why}, and where it ends is not known. "
                    "If quotes are plain text in this file, set rows.quoting=none; else fix them."
                ) from error
            yield begun, [], f"{why}; see rows.quoting"
        else:
            if fields and fields != [""]:
                yield begun, fields, ""


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    """Rows of a Parquet file, some at a time; what pandas writes for a missing value is null.

    A label that the `datasets` library numbers is given by its name, and null where the row has none.
    Raises StageError for a file that is damaged, or names a column twice.
    """
    from pyarrow.parquet import ParquetFile

    with _told_as("Parquet", path, name), ParquetFile(path) as file:
        yield from _records(name, file.schema_arrow, file.iter_batches(batch_size=PARQUET_ROWS))


def read_arrow(path: Path, name: str) -> Iterator[Record]:
    """Rows of an Arrow file, or of a stream as `save_to_disk` of the `datasets` library writes it."""
    from pyarrow import ipc, memory_map

    with _told_as("Arrow", path, name), memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            reader = ipc.open_file(file)
            batches: Iterable[RecordBatch] = map(reader.get_batch, range(reader.num_record_batches))
        else:
            file.seek(0)
            batches = reader = ipc.open_stream(file)
        parts = (
            batch.slice(start, PARQUET_ROWS)
            for batch in batches
            for start in range(0, batch.num_rows, PARQUET_ROWS)
        )
        yield from _records(name, reader.schema, parts)


@contextmanager
def _told_as(kind: str, path: Path, name: str) -> Iterator[None]:
    from pyarrow import ArrowException

    if packed := compression_of(path):
        raise StageError(f"{name} is {kind} that is compressed with {packed} once more. Decompress it first.")
    try:
        yield
    except (ArrowException, OSError, ValueError) as error:
        raise StageError(f"{name} cannot be read as {kind}: {error}. Get an intact copy.") from error


def _records(name: str, schema: "Schema", batches: Iterable["RecordBatch"]) -> Iterator[Record]:
    columns = schema.names
    if len(set(columns)) < len(columns):
        raise StageError(f"{name}: two columns have one name, among {', '.join(columns)}. Rename one.")
    labels, number = _labels_of(schema), 0
    for batch in batches:
        for row in batch.to_pylist(maps_as_pydicts="strict"):
            number += 1
            row |= {column: _label(names, row[column]) for column, names in labels.items()}
            yield f"{name}, row {number}", {key: null_for_nan(value) for key, value in row.items()}
    if not number:
        raise StageError(f"{name} holds no row; expected at least one.")


def _labels_of(schema: "Schema") -> dict[str, list[str]]:
    """The names of the labels in each column of them, as the `datasets` library keeps them in a schema."""
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = noted.get("info", {}).get("features", {})
    kinds = {column: kind for column, kind in features.items() if isinstance(kind, dict)}
    inner = {column: kind.get("feature", kind) for column, kind in kinds.items()}  # of a list, what it holds
    return {
        column: kind["names"]
        for column, kind in inner.items()
        if column in schema.names and isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def _label(names: list[str], number: Any) -> Any:
    """A name, or those of a list; null for -1, of a test split that hides its labels."""
    if isinstance(number, list):
        return [_label(names, one) for one in number]
    return names[number] if number is not None and 0 <= number < len(names) else None


def null_for_nan(value: Any) -> Any:
    """The same value, or null for a number that is none, which is how pandas writes a missing value."""
    return None if isinstance(value, float) and value != value else value
