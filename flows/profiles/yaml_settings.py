"""Settings written in YAML, in a file or after `--set`, typed by the fields that they are for.

YAML alone reads a commit of digits as a number, `no` as false, `2024-01-01` as a date and `010` as 8. Here a
field that is text takes what was written, whatever YAML makes of it; the other fields take YAML's value.
"""

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import yaml
from pydantic import BaseModel

from tasks.config import BaseConfig, DownloadConfig
from tasks.errors import UsageError

LONGEST_YAML = 2**20  # bytes
MOST_SETTINGS = 100_000  # with aliases written out
WRITTEN_AS_TEXT = (DownloadConfig, BaseConfig)  # sections for which a single text may stand
QUOTING = (
    "a text with ': ' or ' #' in it, or a sign of YAML's at its start, goes in quotes; within { } and [ ] "
    "also one with ? or , in it"
)

Kind = Any
"""What stands at a place: a field's annotation, a mapping from names to kinds, or Any for YAML's types."""

_TAG = "tag:yaml.org,2002:"
_NULL, _DATE = f"{_TAG}null", f"{_TAG}timestamp"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
_IMPLICIT = {_NULL, _DATE, *_NUMBERS, *(_TAG + name for name in ("bool", "str", "merge", "value"))}
_NOT_DECIMAL = re.compile(r"[-+]?0[0-9_]|.*:")  # octal and base 60 to YAML, and to nobody else


def read_yaml(path: Path, kind: Kind = Any) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UsageError for anything else, and for a key that is a duplicate."""
    if (size := path.stat().st_size) > LONGEST_YAML:
        raise UsageError(f"{path.name} has {size} bytes, and a file of settings at most {LONGEST_YAML}")
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"), kind)
    except (yaml.scanner.ScannerError, yaml.parser.ParserError) as error:
        raise UsageError(f"{path.name} is not valid YAML: {_in_a_line(error)}; {QUOTING}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not valid YAML: {_in_a_line(error)}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path.name}: expected a mapping of names to settings, found {raw!r}")
    return raw


def load_yaml(text: str, kind: Kind = Any) -> Any:
    """What a YAML text holds. Raises yaml.YAMLError, also for one that would grow: see `_require_small`."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _require_small(root)
        return _Reader(loader, text).value(root, kind)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # a date that there is not, a number of thousands of digits
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def read_override(override: str, kind: Kind) -> tuple[list[str], Any]:
    """Where `a.b=value` points, and the value there. Raises UsageError for what is neither.

    Text is taken as it stands, colons, commas and brackets included. It may be quoted as in YAML, `null` is
    none where a field may be left out, and a list or a mapping where one may stand instead is in brackets.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {override!r}: expected a.b=value, for example --set pretrain.size=124M")
    parts: list[str] = []
    steps = name.split(".")
    while steps:
        if _is_mapping_of_values(kind):
            steps = [".".join(steps)]  # the name of a column, or of a file, may have dots
        parts.append(steps.pop(0))
        kind = _kind_in(kind, parts[-1])
    try:
        return parts, _override_value(text, kind)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {name}: {text!r} is not a valid value: {_in_a_line(error)}") from error


class _Reader:
    """Builds values from the nodes of one text."""

    def __init__(self, loader: yaml.SafeLoader, text: str) -> None:
        self._loader = loader
        self._text = text
        self._checked: set[int] = set()  # mappings whose keys were looked at, before others are merged in

    def value(self, node: yaml.Node, kind: Kind) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, kind)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            return self._loader.construct_object(node, deep=True)
        if _is_text(kind) and not _may_be(node, kind) and (written := self.written(node)):
            return written
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, _kind_in(kind, str(place))) for place, item in enumerate(node.value)]
        return self._mapping(node, kind)

    def _scalar(self, node: yaml.ScalarNode, kind: Kind) -> Any:
        if kind is Any or node.tag not in _IMPLICIT:
            return self._loader.construct_object(node)
        if _takes_text(kind):
            return None if node.tag == _NULL and type(None) in _parts_of(kind) else node.value
        if node.tag == _DATE or (node.tag in _NUMBERS and _NOT_DECIMAL.match(node.value)):
            return node.value
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, kind: Kind) -> dict[Any, Any]:
        if id(node) not in self._checked:
            self._require_distinct(node, kind)
            self._checked.add(id(node))
            self._loader.flatten_mapping(node)
        found = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, kind)
            found[key] = self.value(value_node, _kind_in(kind, str(key)))
        return found

    def _require_distinct(self, node: yaml.MappingNode, kind: Kind) -> None:
        """PyYAML takes the last of two keys that are alike, in silence."""
        seen = set()
        for key_node, _ in node.value:
            key = "<<" if key_node.tag == f"{_TAG}merge" else self._key(key_node, kind)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key!r} is a duplicate", problem_mark=key_node.start_mark
                )
            seen.add(key)

    def _key(self, node: yaml.Node, kind: Kind) -> Any:
        """Names of fields are texts, and so are the keys of a mapping that says so."""
        if kind is not Any and isinstance(node, yaml.ScalarNode) and node.tag in _IMPLICIT:
            return node.value
        key = self._loader.construct_object(node, deep=True)
        try:
            hash(key)
        except TypeError:
            raise yaml.constructor.ConstructorError(
                problem="found a key that is a list or a mapping", problem_mark=node.start_mark
            ) from None
        return key

    def written(self, node: yaml.Node) -> str | None:
        """What stands in the text for a list or a mapping of one line."""
        end = node
        while not end.flow_style and end.value:  # in block style, its end is where the next thing begins
            last = end.value[-1]
            end = last[1] if isinstance(last, tuple) else last
            if isinstance(end, yaml.ScalarNode):
                break
        piece = self._text[node.start_mark.index : end.end_mark.index]
        return None if "\n" in piece else piece


def _override_value(text: str, kind: Kind) -> Any:
    if kind is Any or not _takes_text(kind):
        return load_yaml(text, kind)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError:
        return text
    finally:
        loader.dispose()
    if node is None:  # nothing, or a comment
        return None if not text.strip() and type(None) in _parts_of(kind) else text
    if isinstance(node, yaml.ScalarNode):
        is_quoted = node.style in ("'", '"') and text.strip()[0] == text.strip()[-1] == node.style
        is_null = node.tag == _NULL and type(None) in _parts_of(kind)
        return node.value if is_quoted else None if is_null else text
    return load_yaml(text, kind) if node.flow_style and _may_be(node, kind) else text


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


# What an annotation says of a value


def _parts_of(kind: Kind) -> Sequence[Any]:
    """The alternatives of a union, those of unions inside it too."""
    if typing.get_origin(kind) is typing.Annotated:
        return _parts_of(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [part for alternative in typing.get_args(kind) for part in _parts_of(alternative)]
    return [kind]


def _is_text(kind: Kind) -> bool:
    return any(
        (isinstance(part, type) and issubclass(part, str | PurePath))
        or (typing.get_origin(part) is typing.Literal and isinstance(typing.get_args(part)[0], str))
        for part in _parts_of(kind)
    )


def _takes_text(kind: Kind) -> bool:
    return _is_text(kind) or any(part in WRITTEN_AS_TEXT for part in _parts_of(kind))


def _is_mapping_of_values(kind: Kind) -> bool:
    """Whether it is a mapping whose values are texts or numbers, in which nothing stands deeper."""
    values = [typing.get_args(part)[1] for part in _parts_of(kind) if typing.get_origin(part) is dict]
    return any(_is_text(value) or {int, float} & set(_parts_of(value)) for value in values)


def _may_be(node: yaml.Node, kind: Kind) -> bool:
    """Whether a list or a mapping may stand where text may."""
    if isinstance(node, yaml.SequenceNode):
        return any(typing.get_origin(part) in (tuple, list) for part in _parts_of(kind))
    return any(
        typing.get_origin(part) is dict or (isinstance(part, type) and issubclass(part, BaseModel))
        for part in _parts_of(kind)
    )


def _kind_in(kind: Kind, name: str) -> Kind:
    """What stands under a name, or at a position, in a value of some kind; Any where nothing is known."""
    if isinstance(kind, Mapping):
        return kind.get(name, Any)
    for part in _parts_of(kind):
        if isinstance(part, type) and issubclass(part, BaseModel) and name in part.model_fields:
            return part.model_fields[name].annotation
        if typing.get_origin(part) in (tuple, list):
            return typing.get_args(part)[0]
        if typing.get_origin(part) is dict:
            return typing.get_args(part)[1]
    return Any


def _require_small(root: yaml.Node) -> None:
    """Raises yaml.YAMLError for a text whose aliases stand for too much, or for what they are part of.

    Ten lines of aliases of aliases are a gigabyte for whoever writes them out.
    """
    sizes: dict[int, int] = {}

    def size_of(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_SETTINGS  # while it is looked into: a part that is the whole never ends
            parts: Iterable[yaml.Node] = ()
            if isinstance(node, yaml.MappingNode):
                parts = chain.from_iterable(node.value)
            elif isinstance(node, yaml.SequenceNode):
                parts = node.value
            sizes[id(node)] = 1 + sum(map(size_of, parts))
        return sizes[id(node)]

    if size_of(root) > MOST_SETTINGS:
        raise yaml.YAMLError(f"written out, its aliases would be more than {MOST_SETTINGS} settings")
