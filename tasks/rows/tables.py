"""Records of tables: comma- or tab-separated text, and Parquet."""

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from tasks.errors import StageError
from tasks.reading import OnMalformed, Record, RowError, text_lines

Quoting = Literal["quotes", "none"]

PARQUET_ROWS = 1000  # of a batch
LONGEST_FIELD = min(sys.maxsize, 2**31 - 1)  # characters; a C long is 32 bits on Windows

Line = tuple[int, list[str], str]
"""The number of the line that a row begins in, its fields, and what is wrong with its quotes, if anything."""


def read_delimited(
    path: Path, name: str, delimiter: str, quoting: Quoting, header: Sequence[str], malformed: OnMalformed
) -> Iterator[Record]:
    """Rows of a CSV or TSV file by their columns; a row with another number of fields is `malformed`.

    The columns are those of `header` or, when that is empty, of the first line. With quoting "none" a quote
    is a character like any other, and nothing but a line's end ends a row.

    Raises StageError for a header that is wrong, and for quotes that leave open where rows end.
    """
    lines = (_split if quoting == "none" else _quoted)(path, name, delimiter)
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
            malformed(RowError(where, f"{len(fields)} fields, expected {expected}"))
        else:
            yield where, dict(zip(columns, fields, strict=True))
    if not number:
        raise StageError(f"{name} holds a header and no row; expected at least one.")


def _split(path: Path, name: str, delimiter: str) -> Iterator[Line]:
    for number, line in enumerate(text_lines(path, name, keep_returns=True), 1):
        if line := line.removesuffix("\r"):
            yield number, line.split(delimiter), ""


def _quoted(path: Path, name: str, delimiter: str) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)  # of the process; the default cuts off at 131,072
    lines = (f"{line}\n" for line in text_lines(path, name, keep_returns=True))
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
                    "If quotes are plain text in this file, set rows.quoting=none; else mend them."
                ) from error
            yield begun, [], f"{why}; see rows.quoting"
        else:
            if fields and fields != [""]:
                yield begun, fields, ""


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    """Rows of a Parquet file, some at a time; what pandas writes for a missing value is null.

    Raises StageError for a file that is damaged, or names a column twice.
    """
    from pyarrow import ArrowException, RecordBatch
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if len(set(columns)) < len(columns):
                raise StageError(
                    f"{name}: two columns have one name, among {', '.join(columns)}. Rename one."
                )
            batches = file.iter_batches(batch_size=PARQUET_ROWS)
            for number, row in enumerate(chain.from_iterable(map(RecordBatch.to_pylist, batches)), 1):
                yield f"{name}, row {number}", {key: _null_for_nan(value) for key, value in row.items()}
    except (ArrowException, OSError) as error:
        raise StageError(f"{name} cannot be read as Parquet: {error}. Get an intact copy.") from error
    if not number:
        raise StageError(f"{name} holds no row; expected at least one.")


def _null_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
