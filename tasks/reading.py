"""Reading records from files, with the row at fault named when one is wrong."""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tasks.errors import StageError

BLOCK = 2**20  # bytes
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can escape a lone surrogate; UTF-8 cannot hold it

Record = tuple[str, dict[str, Any]]
"""Where a record stands (`file.json, row 12`), and the record."""


class RowError(StageError):
    """One row that cannot be used: where it stands, and why."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class EmptyRowError(RowError):
    """A row whose text is empty: its form may well be right."""


OnMalformed = Callable[[RowError], None]
"""What is done about a malformed row; when it returns, reading goes on with the next row."""


def stop(error: RowError) -> NoReturn:
    """The first malformed row ends the reading."""
    raise error


def text_pieces(path: Path, name: str = "", *, keep_returns: bool = False) -> Iterator[str]:
    """The text of a file, a block of `BLOCK` bytes at a time, without byte order mark, every newline as \\n.

    Errors call the file `name`, or what it is called in its folder. Raises StageError naming the file and the
    byte when it is not UTF-8, and at its end when it is empty.
    """
    name = name or path.name
    utf8 = codecs.getincrementaldecoder("utf-8-sig")()
    decoder = io.IncrementalNewlineDecoder(utf8, translate=not keep_returns)
    read, blank = 0, True
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            read += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:  # its object ends where the block does
                position = read - len(error.object) + error.start
                likely = "utf-16" if position == 0 and block[:2] in UTF16_MARKS else "latin1"
                raise StageError(
                    f"{name} is not UTF-8: byte {position} is 0x{error.object[error.start]:02x}. "
                    f"Convert it first, for example: iconv -f {likely} -t utf-8"
                ) from error
            blank = blank and (not text or text.isspace())
            if text:
                yield text
            if not block:
                break
    if blank:
        raise StageError(f"{name} is empty")


def read_text(path: Path, name: str = "") -> str:
    """A whole text file, which must be UTF-8 and not empty. Raises StageError naming file and byte."""
    return "".join(text_pieces(path, name))


def text_lines(path: Path, name: str = "", *, keep_returns: bool = False) -> Iterator[str]:
    """The lines of a text file without their \\n, one of them held at a time; only \\n ends a line.

    Raises as `text_pieces` does.
    """
    begun: list[str] = []  # a line may span many blocks; joined once, at its end
    for text in text_pieces(path, name, keep_returns=keep_returns):
        first, *others = text.split("\n")
        begun.append(first)
        for line in others:
            yield "".join(begun)
            begun = [line]
    yield "".join(begun)


def read_records(path: Path, name: str = "", malformed: OnMalformed = stop) -> Iterator[Record]:
    """Objects of a JSON list or a JSON Lines file; a row that is none is `malformed`.

    A list is read whole, at several times its size in memory; of JSON Lines one row is held at a time.
    """
    if path.suffix == ".json":
        yield from json_list(path, name, malformed)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from json_lines(path, name, malformed)
    else:
        raise StageError(f"{name or path.name}: expected .json or .jsonl, found {path.suffix or 'no ending'}")


def json_list(path: Path, name: str = "", malformed: OnMalformed = stop) -> Iterator[Record]:
    """Objects of a JSON list, or of the one list that a JSON object holds; the file is read whole.

    A row that is no object is `malformed`. Raises StageError for a file that is not JSON or no such list.
    """
    name = name or path.name
    text = read_text(path, name)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        row = _rows_before(text, error.pos)
        raise StageError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            f" (in row {row + 1}). If every line is an object of its own, name the file .jsonl"
        ) from error
    except (RecursionError, ValueError) as error:  # nested beyond reason, or a number of thousands of digits
        raise StageError(f"{name} cannot be read as rows: {error}") from error
    for number, record in enumerate(_the_list(value, name), 1):
        yield from _objects(f"{name}, row {number}", record, malformed)


def _the_list(value: Any, name: str) -> list[Any]:
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list) and _holds_objects(each)]
        if len(lists) != 1:
            held = f"that holds {len(lists)}" if lists else "that holds none"
            raise StageError(
                f"{name}: expected a list of objects, or an object that holds one such list, found an object "
                f"{held}. If each line is a row, name the file .jsonl"
            )
        return lists[0]
    if not isinstance(value, list):
        raise StageError(f"{name}: expected a list of objects, found {type_of(value)}")
    if not value:
        raise StageError(f"{name} holds an empty list; expected at least one row")
    return value


def _holds_objects(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)


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


def json_lines(path: Path, name: str = "", malformed: OnMalformed = stop) -> Iterator[Record]:
    """Objects of a JSON Lines file; a line that is none is `malformed`, and blank lines are passed over."""
    name = name or path.name
    for number, line in enumerate(text_lines(path, name), 1):
        if not line.strip():
            continue
        where = f"{name}, row {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            malformed(RowError(where, f"not valid JSON ({error.msg}): {short(line)}"))
        except (RecursionError, ValueError) as error:
            malformed(RowError(where, f"cannot be read: {error}"))
        else:
            yield from _objects(where, value, malformed)


def _objects(where: str, value: Any, malformed: OnMalformed) -> Iterator[Record]:
    """The one object, or none."""
    if isinstance(value, dict):
        yield where, value
    else:
        malformed(RowError(where, f"expected an object, found {type_of(value)}: {short(value)}"))


def text_field(record: Record, *names: str, required: bool = True) -> str:
    """The first of the named fields that is there, which must be text. Raises RowError naming the row."""
    where, row = record
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and (value.strip() or not required):
            return whole_characters(where, f"{name!r}", value)
        if value is not None and not isinstance(value, str):
            raise RowError(where, f"{name!r} should be text, found {type_of(value)}: {short(value)}")
        if name in row and required:
            raise EmptyRowError(where, f"{name!r} is empty")
    if required:
        raise RowError(where, f"no {names[0]!r}; its fields are {', '.join(sorted(row)) or 'none'}")
    return ""


def whole_characters(where: str, what: str, text: str) -> str:
    """The same text. Raises RowError when it holds half of a surrogate pair, which UTF-8 cannot."""
    if HALF_CHARACTER.search(text):
        raise RowError(where, f"{what} holds half of a character (a lone \\ud800 to \\udfff)")
    return text


def type_of(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    kind = type(value)
    return names.get(kind) or ("a number" if kind in (int, float) else f"a value of type {kind.__name__}")


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
