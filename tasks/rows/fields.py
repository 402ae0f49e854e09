"""What the formats of rows are made of: a record's values by name, and what a format needs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.data.reading import Message, RowError, text_field
from tasks.rows.conversations import messages_of
from tasks.rows.row_kind import Row

Columns = Mapping[str, str]
"""What a format calls a column, and what the file does."""


@dataclass(frozen=True)
class Fields:
    """A record's values by the names of its format. A column that the file lacks is empty."""

    where: str
    values: dict[str, Any]
    columns: Columns
    separator: str = ""
    """What stands between several values in one text."""

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


def is_list(value: Any) -> bool:
    """Whether it is a list, or text that is one in JSON."""
    return isinstance(value, list) or (isinstance(value, str) and isinstance(from_json(value), list))


def from_json(text: str) -> Any:
    """What a text is in JSON, or the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Format:
    """What a format's rows are, the columns it needs and may have, each with other names it goes by."""

    kind: str
    row: Callable[[Fields], Row]
    needs: dict[str, tuple[str, ...]]
    may_have: dict[str, tuple[str, ...]] = field(default_factory=dict)
    level: int = 1
    """It is recognised only where no format of a lower level is: many data sets carry a `text` as well."""
    accepts: Callable[[Mapping[str, Sequence[Any]]], bool] = lambda _values: True
    """Whether the values of the needed columns are of the format, where names alone do not tell it."""

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        return self.needs | self.may_have | {"category": ()}
