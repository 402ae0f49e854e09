"""Reading records from files, with the row at fault named when one is wrong."""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from tasks.data.source_files import ending_of, plain_blocks
from tasks.errors import StageError

Message = dict[str, Any]
"""Of a conversation: `role` (system, user, assistant, tool) and `content`, which is text.

Where the assistant calls tools, `tool_calls` in OpenAI's form, whose arguments are an object.
"""

BLOCK = 2**20  # bytes
MARKS = (  # byte-order marks; that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
UNMARKED_FROM = 16  # bytes of which every second one is 0, and no other
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can escape a lone surrogate; UTF-8 cannot hold it
JSON_LINES = (".jsonl", ".ndjson")

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


def text_pieces(
    path: Path, name: str = "", *, encoding: str = "", keep_returns: bool = False
) -> Iterator[str]:
    """The text of a file, a block of `BLOCK` bytes at a time, without byte-order mark, every newline as \\n.

    A file that is compressed is decompressed. Its encoding is what its byte-order mark says, else `encoding`,
    else UTF-8. Errors call the file `name`, or what it is called in its folder. Raises StageError naming the
    file and the byte when it is in another encoding, and at its end when it is empty.
    """
    name = name or path.name
    blocks = plain_blocks(path, name, BLOCK)
    head = b""
    while len(head) < UNMARKED_FROM and (block := next(blocks, b"")):
        head += block
    kind = _encoding_of(head, encoding, name)
    bare = codecs.getincrementaldecoder(kind)()
    decoder = io.IncrementalNewlineDecoder(bare, translate=not keep_returns)
    read, blank = 0, True
    for block in chain([head] if head else [], blocks, [b""]):
        read += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:  # its object ends where the block does
            raise _not_in(kind, name, read - len(error.object) + error.start, error) from error
        except UnicodeError as error:  # UTF-16 that is named without its byte order
            raise StageError(f"{name} cannot be read as {kind}: {error}. Name its encoding.") from error
        blank = blank and (not text or text.isspace())
        if text:
            yield text
    if blank:
        raise StageError(f"{name} is empty")


def _encoding_of(head: bytes, named: str, name: str) -> str:
    if marked := next((kind for mark, kind in MARKS if head.startswith(mark)), None):
        return marked
    if not named and len(head) >= UNMARKED_FROM:
        even, odd = head[: 2 * UNMARKED_FROM : 2], head[1 : 2 * UNMARKED_FROM : 2]
        if any(even) != any(odd) and all(even) != all(odd):
            raise StageError(
                f"{name} has no byte-order mark, and every second byte is 0, as in UTF-16. "
                + _name_it("utf-16-le" if any(even) else "utf-16-be")
            )
    return named or "utf-8"


def _not_in(kind: str, name: str, position: int, error: UnicodeDecodeError) -> StageError:
    found = f"byte {position} is 0x{error.object[error.start]:02x}"
    if kind.startswith("utf-8"):
        advice = f"{_name_it('latin-1 or cp1252')}, or convert it: iconv -f latin1 -t utf-8"
        return StageError(f"{name} is not UTF-8: {found}. {advice}")
    return StageError(f"{name} is not {kind}: {found} ({error.reason}). Name the encoding that it has.")


def _name_it(encodings: str) -> str:
    return f"Name its encoding (rows.encoding; of a corpus tokenize.encoding), for example {encodings}"


def read_text(path: Path, name: str = "", *, encoding: str = "") -> str:
    """A whole text file, which must not be empty. Raises as `text_pieces` does."""
    return "".join(text_pieces(path, name, encoding=encoding))


def text_lines(
    path: Path, name: str = "", *, encoding: str = "", keep_returns: bool = False
) -> Iterator[str]:
    """The lines of a text file without their \\n, one of them held at a time; only \\n ends a line.

    Raises as `text_pieces` does.
    """
    begun: list[str] = []  # a line may span many blocks; joined once, at its end
    for text in text_pieces(path, name, encoding=encoding, keep_returns=keep_returns):
        first, *others = text.split("\n")
        begun.append(first)
        for line in others:
            yield "".join(begun)
            begun = [line]
    yield "".join(begun)


def read_records(
    path: Path, name: str = "", malformed: OnMalformed = stop, *, encoding: str = "", field: str = ""
) -> Iterator[Record]:
    """Objects of a JSON list or a JSON Lines file; a row that is none is `malformed`.

    A list is read whole, at several times its size in memory; of JSON Lines one row is held at a time.
    """
    name = name or path.name
    ending = ending_of(name)
    if ending == ".json":
        yield from json_list(path, name, malformed, encoding=encoding, field=field)
    elif ending in JSON_LINES:
        yield from json_lines(path, name, malformed, encoding=encoding)
    else:
        raise StageError(f"{name}: expected .json or .jsonl, found {ending or 'no ending'}")


def json_list(
    path: Path, name: str = "", malformed: OnMalformed = stop, *, encoding: str = "", field: str = ""
) -> Iterator[Record]:
    """Rows of a JSON document, which is read whole: a list of objects, or an object that holds one such list.

    Also an object of columns: lists of one length, or as pandas writes a table. `field` names what to take,
    where an object holds more, with dots where it is deeper. A row that is no object is `malformed`. Raises
    StageError for a file that is not JSON, or has no such rows.
    """
    name = name or path.name
    value = _document(path, name, encoding)
    if field:
        value = _field(value, field, name)
    for number, record in enumerate(_the_list(value, name), 1):
        yield from _objects(f"{name}, row {number}", record, malformed)


def lists_in(path: Path, name: str, *, encoding: str = "") -> list[str]:
    """The keys of a JSON document that is an object whose every value is a list of objects; else none."""
    begin = next((text.lstrip() for text in text_pieces(path, name, encoding=encoding) if text.strip()), "")
    if not begin.startswith("{"):
        return []
    document = _document(path, name, encoding)
    return list(document) if all(map(_holds_objects, document.values())) else []


def _document(path: Path, name: str, encoding: str) -> Any:
    text = read_text(path, name, encoding=encoding)
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        row = _rows_before(text, error.pos)
        raise StageError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            f" (in row {row + 1}). If every line is an object of its own, name the file .jsonl"
        ) from error
    except (RecursionError, ValueError) as error:  # nested beyond reason, or a number of thousands of digits
        raise StageError(f"{name} cannot be read as rows: {error}") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one key the last would be taken in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice in {short(found)}")
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_no_key_twice)


def _field(value: Any, field: str, name: str) -> Any:
    at = value
    for key in [field] if isinstance(value, dict) and field in value else field.split("."):
        if not isinstance(at, dict) or key not in at:
            held = f"its keys are {', '.join(map(short, at))}" if isinstance(at, dict) else type_of(at)
            raise StageError(f"{name} holds nothing under {field!r}, which field names; found {held}")
        at = at[key]
    return at


def _the_list(value: Any, name: str) -> list[Any]:
    if isinstance(value, dict):
        lists = {key: each for key, each in value.items() if _holds_objects(each)}
        if not lists and (rows := _rows_of_columns(value)):
            return rows
        if len(lists) != 1:
            held = f"{len(lists)} ({', '.join(map(short, lists))})" if lists else "none"
            advice = "Name one with field" if lists else "If each line is a row, name the file .jsonl"
            raise StageError(
                f"{name}: expected a list of objects, or an object that holds one such list, found an object "
                f"that holds {held}. {advice}"
            )
        return next(iter(lists.values()))
    if not isinstance(value, list):
        raise StageError(f"{name}: expected a list of objects, found {type_of(value)}")
    if not value:
        raise StageError(f"{name} holds an empty list; expected at least one row")
    return value


def _holds_objects(values: Any) -> bool:
    return isinstance(values, list) and any(isinstance(value, dict) for value in values)


def _rows_of_columns(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table that is written by its columns; none where it is no such table.

    As lists of one length, or in the ways of pandas: `columns` (row numbers as keys; its default), `split`.
    """
    columns = table
    names, rows = table.get("columns"), table.get("data")
    if isinstance(names, list) and isinstance(rows, list) and all(map(_of_length(len(names)), rows)):
        return [dict(zip(names, row, strict=True)) for row in rows]
    if all(isinstance(column, dict) and all(map(str.isdecimal, column)) for column in table.values()):
        keys = dict.fromkeys(key for column in table.values() for key in column)
        columns = {name: [column.get(key) for key in keys] for name, column in table.items()}
    lists = list(columns.values())
    if not lists or not isinstance(lists[0], list) or not all(map(_of_length(len(lists[0])), lists)):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _of_length(length: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) == length


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


def json_lines(
    path: Path, name: str = "", malformed: OnMalformed = stop, *, encoding: str = ""
) -> Iterator[Record]:
    """Objects of a JSON Lines file; a line that is none is `malformed`, and blank lines are passed over."""
    name = name or path.name
    for number, line in enumerate(text_lines(path, name, encoding=encoding), 1):
        if not line.strip():
            continue
        where = f"{name}, row {number}"
        try:
            value = _JSON.decode(line)
        except json.JSONDecodeError as error:
            malformed(RowError(where, f"not valid JSON ({error.msg}): {short(line)}"))
        except (RecursionError, ValueError) as error:
            malformed(RowError(where, f"cannot be read: {error}"))
        else:
            yield from _objects(where, value, malformed)


def _objects(where: str, value: Any, malformed: OnMalformed) -> Iterator[Record]:
    """The one object, or none. A list of turns is a conversation that nothing was written around."""
    if isinstance(value, dict):
        yield where, value
    elif isinstance(value, list) and value and all(map(_is_turn, value)):
        yield where, {"messages": value}
    else:
        malformed(RowError(where, f"expected an object, found {type_of(value)}: {short(value)}"))


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and (
        {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()
    )


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


def spoken(message: Message) -> str:
    """What a message says as one text, calls of tools with it."""
    calls = (json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls", ()))
    return "\n".join(filter(None, (message["content"], *calls)))


def type_of(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    kind = type(value)
    return names.get(kind) or ("a number" if kind in (int, float) else f"a value of type {kind.__name__}")


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
