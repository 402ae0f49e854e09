"""JSON and JSON Lines as every stage writes and reads them: UTF-8, characters as they are, NaN refused."""

import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from tasks.errors import StageError

Json = dict[str, Any]


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


@dataclass(frozen=True, kw_only=True)
class JsonFile:
    """One JSON file of a stage's output: the room that makes it has the schema, and all others read by that.

    The fields are the file's keys, in its order. A field that has a default is left out of the file as long
    as it holds that.
    """

    FILE: ClassVar[str]

    def as_json(self) -> Json:
        """What the file holds."""
        values = {field.name: (field, getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, (field, value) in values.items() if value != _default_of(field)}

    def write(self, folder: Path) -> None:
        """Raises ValueError for a number that is not finite."""
        write_json(folder / self.FILE, self.as_json())

    @classmethod
    def of(cls, found: Json, where: object) -> Self:
        """From what was written, and where it stands. Raises StageError when it is of another form."""
        known = {field.name: field for field in fields(cls)}
        strange = [name for name in found if name not in known]
        lacking = [
            name for name, field in known.items() if name not in found and _default_of(field) is MISSING
        ]
        if strange or lacking:
            told = [f"lacks {name}" for name in lacking] + [f"holds an unknown {name}" for name in strange]
            raise StageError(
                f"{where} {' and '.join(told)}: another version wrote it. Run again to make it anew"
            )
        return cls(**found)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises StageError when the file is of another form, as that of another version may be."""
        return cls.of(read_json(folder / cls.FILE), folder / cls.FILE)

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """As `read`; None where the folder has no such file."""
        return cls.read(folder) if (folder / cls.FILE).is_file() else None


def _default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
