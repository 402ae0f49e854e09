"""Where the value of a `--set` goes among the settings of a profile."""

from typing import Any

from tasks.errors import UsageError


def apply(raw: dict[str, Any], at: list[str], value: Any) -> None:
    """Put a value at a place of nested settings, `[section, key, ...]`; sections that are not there are made.

    Raises UsageError for a position that a list does not have.
    """
    name = ".".join(at)
    *parents, last = at
    target: Any = raw
    for parent in parents:
        if isinstance(target, list):
            target = _item(target, parent, name)
        elif isinstance(target.get(parent), dict | list):
            target = target[parent]
        else:
            target[parent] = {}
            target = target[parent]
    if isinstance(target, list):
        _item(target, last, name)
        target[int(last)] = value
    else:
        target[last] = value


def _item(items: list[Any], index: str, name: str) -> Any:
    if not index.isdecimal() or int(index) >= len(items):
        raise UsageError(
            f"--set {name}: {index!r} is not a position in a list of {len(items)} (counted from 0)"
        )
    return items[int(index)]
