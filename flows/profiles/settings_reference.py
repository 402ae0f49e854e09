"""Every setting with its type, its default and its meaning, read from the models that validate them.

`touchstone settings` prints it, and the documentation's page on profiles is made from it.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.profiles.profile import Profile
from flows.profiles.spelling import DOWNLOADS
from tasks.config import OUTSIDE_KEY, CompareConfig, Gate, Pools, StageConfig
from tasks.config.base import one_of

PROFILE = "profile"
"""The section of what stands in a profile outside its sections."""
DOWNLOADED = {
    "corpus": "text to pretrain on",
    "instructions": "rows to fine-tune on",
    "labelled": "texts with labels to classify",
    "vocabulary": "the files of GPT-2's tokenizer",
}
ELSEWHERE: Mapping[str, tuple[type[StageConfig], str]] = {
    "compare": (CompareConfig, "`touchstone compare --set compare.KEY=VALUE`; no profile holds it."),
    "pools": (Pools, "`touchstone run --pools --set pools.KEY=VALUE`; no profile holds it."),
}
LARGEST = 2**31  # a bound from which on nobody asks for more
REQUIRED = "(required)"


@dataclass(frozen=True)
class Setting:
    """One setting, in words."""

    key: str
    """As it is written in its section; N stands for a position in a list."""
    type: str
    default: str
    """As YAML has it; `(required)` where there is none."""
    meaning: str
    changes_result: bool
    """Whether a stage runs again when this is changed."""


@dataclass(frozen=True)
class Section:
    """The settings of one section; several sections may have the same ones."""

    names: tuple[str, ...]
    meaning: str
    settings: tuple[Setting, ...]


def settings_reference() -> list[Section]:
    """Every section, in the order of a profile; then those of commands alone."""
    top, sections, downloads = [], [], None
    for name, field in Profile.model_fields.items():
        model = _model_in(field.annotation)
        if model is None:
            top.append(_setting(name, field, field.default, changes_result=False))
        elif name in DOWNLOADS:
            downloads = model
        else:
            meaning = ". ".join(filter(None, (_sentence(field.description), _sentence(_first_line(model)))))
            sections.append(Section((name,), f"{meaning}.", tuple(_settings(model, field.default))))
    told = "; ".join(f"{name}: {what}" for name, what in DOWNLOADED.items())
    meaning = f"{_first_line(downloads)} {told}."
    return [
        Section((PROFILE,), "What stands in a profile outside its sections.", tuple(top)),
        Section(tuple(DOWNLOADS), meaning, tuple(_settings(downloads, None))),
        *sections,
        *(_of_a_command(name, model, told) for name, (model, told) in ELSEWHERE.items()),
    ]


def _of_a_command(name: str, model: type[StageConfig], told: str) -> Section:
    meaning = f"{_sentence(_first_line(model))}. Set with {told}"
    return Section((name,), meaning, tuple(_settings(model, None)))


def as_markdown(sections: Sequence[Section]) -> str:
    """A heading and a table for each section."""
    return "\n".join(line for section in sections for line in _table(section))


def _table(section: Section) -> list[str]:
    rows = [
        f"| `{setting.key}` | {_cell(setting.type)} | {_code(setting.default)} | {_cell(setting.meaning)} |"
        for setting in section.settings
    ]
    title = ", ".join(f"`{name}`" for name in section.names)
    return [
        f"## {title}",
        "",
        section.meaning,
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _code(default: str) -> str:
    return default if default == REQUIRED else f"`{default}`"


def _settings(model: type[BaseModel], given: BaseModel | None, prefix: str = "") -> list[Setting]:
    """The settings of a model and of those inside it; `given` holds the defaults where one is the default."""
    found = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        default = field.get_default(call_default_factory=True) if given is None else getattr(given, name)
        inner = _model_in(field.annotation)
        if inner in (None, Gate):
            found.append(_setting(key, field, default, changes_result=OUTSIDE_KEY not in field.metadata))
        elif isinstance(default, BaseModel) or (default is None and not _is_list(field.annotation)):
            found += _settings(inner, default, f"{key}.")
        else:
            found.append(_setting(key, field, default, changes_result=OUTSIDE_KEY not in field.metadata))
            found += _settings(inner, None, f"{key}.N.")
    return found


def _setting(key: str, field: FieldInfo, default: Any, *, changes_result: bool) -> Setting:
    written = REQUIRED if default is PydanticUndefined else _written(default)
    kind = _type(field.annotation, field.metadata)
    return Setting(key, kind, written, field.description or "", changes_result)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _sentence(text: str | None) -> str:
    """A capital at the start and no full stop."""
    return "" if not text else (text[0].upper() + text[1:]).removesuffix(".")


def _written(value: Any) -> str:
    """A default as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        digits, exponent, power = f"{value:.4g}".partition("e")
        return f"{digits if '.' in digits else f'{digits}.0'}e{int(power)}" if exponent else digits
    if isinstance(value, BaseModel):
        return _written({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return str(value) or '""'


# What an annotation says of a value, in words


def _type(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner, *told = arguments
        for one in told:
            bounds = [*bounds, *(one.metadata if isinstance(one, FieldInfo) else [one])]
        return _type(inner, bounds)
    if origin in (typing.Union, UnionType):
        return one_of([name for part in arguments for name in _alternatives(part, bounds)])
    if origin is Literal:
        return one_of(_alternatives(annotation))
    if origin in (tuple, list):
        return "list of mappings" if _model_in(arguments[0]) else f"list: {_type(arguments[0])}"
    if origin is dict:
        return f"mapping: {_type(arguments[0])} to {_type(arguments[1])}"
    if annotation in (int, float):
        return _number(annotation, bounds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping: " + ", ".join(annotation.model_fields)
    if annotation is bool:
        return "true or false"
    return "path" if issubclass(annotation, PurePath) else "text"


def _alternatives(part: Any, bounds: Sequence[Any] = ()) -> list[str]:
    if typing.get_origin(part) is Literal:
        return [str(value) for value in typing.get_args(part)]
    return ["null"] if part is NoneType else [_type(part, bounds)]


def _number(annotation: type, bounds: Sequence[Any]) -> str:
    found = {
        name: value
        for one in bounds
        for name in ("gt", "ge", "lt", "le")
        if (value := getattr(one, name, None)) is not None and abs(value) < LARGEST
    }
    if annotation is int and "gt" in found:
        found["ge"] = found.pop("gt") + 1
    words = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
    told = " ".join(text.format(found[name]) for name, text in words.items() if name in found)
    return f"{'whole number' if annotation is int else 'number'} {told}".strip()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a value is, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Union, UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return origin in (tuple, list)
