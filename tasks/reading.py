"""Reading records from files, with the row at fault named when one is wrong."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import StageError

BLOCK = 2**20  # bytes
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can escape a lone surrogate; UTF-8 cannot hold it

Record = tuple[str, dict[str, Any]]
"""Where a record stands (`file.json, row 12`), and the record."""


def text_pieces(path: Path) -> Iterator[str]:
    """The text of a file, a block of `BLOCK` bytes at a time, without byte order mark, every newline as \\n.

    Raises StageError naming the file and the byte when it is not UTF-8, and at its end when it is empty.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    read, blank = 0, True
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            read += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:  # its object ends where the block does
                position = read - len(error.object) + error.start
                raise StageError(
                    f"{path.name} is not UTF-8: byte {position} is 0x{error.object[error.start]:02x}. "
                    "Convert it first, for example: iconv -f latin1 -t utf-8"
                ) from error
            blank = blank and (not text or text.isspace())
            if text:
                yield text
            if not block:
                break
    if blank:
        raise StageError(f"{path.name} is empty")


def read_text(path: Path) -> str:
    """A whole text file, which must be UTF-8 and not empty. Raises StageError naming file and byte."""
    return "".join(text_pieces(path))


def read_records(path: Path) -> Iterator[Record]:
    """Objects of a JSON list or a JSON Lines file. Raises StageError naming the row that is no object.

    A list is read whole, at several times its size in memory; of JSON Lines one row is held at a time.
    """
    if path.suffix == ".json":
        yield from _json_list(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    else:
        raise StageError(f"{path.name}: expected .json or .jsonl, found {path.suffix or 'no ending'}")


def _json_list(path: Path) -> Iterator[Record]:
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        row = _rows_before(text, error.pos)
        raise StageError(
            f"{path.name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            f" (in row {row + 1}). If every line is an object of its own, name the file .jsonl"
        ) from error
    except (RecursionError, ValueError) as error:  # nested beyond reason, or a number of thousands of digits
        raise StageError(f"{path.name} cannot be read as rows: {error}") from error
    if not isinstance(value, list):
        raise StageError(f"{path.name}: expected a list of objects, found {_json_type(value)}")
    if not value:
        raise StageError(f"{path.name} holds an empty list; expected at least one row")
    for number, record in enumerate(value, 1):
        yield _checked(f"{path.name}, row {number}", record)


def _rows_before(text: str, position: int) -> int:
    """How many whole rows of a JSON list stand before a position."""
    decoder, rows, at = json.JSONDecoder(), 0, text.find("[") + 1
    while 0 < at < position:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at >= position:
            break
        try:
            _, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            break
        rows += 1
    return rows


def _lines(path: Path) -> Iterator[str]:
    begun: list[str] = []  # a row may span many blocks; joined once, at its end
    for text in text_pieces(path):
        first, *others = text.split("\n")
        begun.append(first)
        for line in others:
            yield "".join(begun)
            begun = [line]
    yield "".join(begun)


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise StageError(
                f"{path.name}, row {number}: not valid JSON ({error.msg}): {_short(line)}"
            ) from error
        except (RecursionError, ValueError) as error:
            raise StageError(f"{path.name}, row {number} cannot be read: {error}") from error
        yield _checked(f"{path.name}, row {number}", value)


def _checked(where: str, value: Any) -> Record:
    if not isinstance(value, dict):
        raise StageError(f"{where}: expected an object, found {_json_type(value)}: {_short(value)}")
    return where, value


def text_field(record: Record, *names: str, required: bool = True) -> str:
    """The first of the named fields that is there, which must be text. Raises StageError naming the row."""
    where, row = record
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and (value.strip() or not required):
            if HALF_CHARACTER.search(value):
                raise StageError(f"{where}: {name!r} holds half of a character (a lone \\ud800 to \\udfff)")
            return value
        if value is not None and not isinstance(value, str):
            raise StageError(f"{where}: {name!r} should be text, found {_json_type(value)}: {_short(value)}")
        if name in row and required:
            raise StageError(f"{where}: {name!r} is empty")
    if required:
        raise StageError(f"{where}: no {names[0]!r}; its fields are {', '.join(sorted(row)) or 'none'}")
    return ""


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
