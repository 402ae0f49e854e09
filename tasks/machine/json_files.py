"""JSON and JSON Lines as every stage writes and reads them: UTF-8, characters as they are, NaN refused."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def as_text(value: Any) -> str:
    """A value, indented for people. Raises ValueError for a number that is not finite."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """One value, as text. Raises ValueError for a number that is not finite."""
    path.write_text(as_text(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def as_line(value: Any) -> str:
    """A value as one line, its end included. Raises ValueError for a number that is not finite."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def write_lines(path: Path, values: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(as_line, values))


def read_lines(path: Path) -> list[Any]:
    """The values of a file that `write_lines` wrote; only \\n ends a line, not U+2028."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_whole_lines(path: Path) -> list[Any]:
    """The values that a journal holds; a last line that a kill cut short is dropped from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.decode().split("\n")[:-1]]
