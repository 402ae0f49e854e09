"""Every setting with its type, its default and its meaning, read from the models that validate them.

`touchstone settings` prints it, and the documentation's page on profiles is made from it.
"""

import typing
from collections.abc import Iterator, Mapping, Sequence
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
        model = model_in(field.annotation)
        if model is None:
            top.append(_setting(name, field, field.default, changes_result=False))
        elif name in DOWNLOADS:
            downloads = model
        else:
            meaning = ". ".join(filter(None, (sentence(field.description), sentence(first_line(model)))))
            sections.append(Section((name,), f"{meaning}.", tuple(_settings(model, field.default))))
    told = "; ".join(f"{name}: {what}" for name, what in DOWNLOADED.items())
    meaning = f"{first_line(downloads)} {told}."
    return [
        Section((PROFILE,), "What stands in a profile outside its sections.", tuple(top)),
        Section(tuple(DOWNLOADS), meaning, tuple(_settings(downloads, None))),
        *sections,
        *(_of_a_command(name, model, told) for name, (model, told) in ELSEWHERE.items()),
    ]


def _of_a_command(name: str, model: type[StageConfig], told: str) -> Section:
    meaning = f"{sentence(first_line(model))}. Set with {told}"
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


def _settings(model: type[BaseModel], given: BaseModel | None) -> list[Setting]:
    """The settings of a model and of those inside it; `given` holds the defaults where one is the default."""
    return [
        _setting(one.key, one.field, one.default, changes_result=OUTSIDE_KEY not in one.field.metadata)
        for one in places(model, given)
        if not one.is_section
    ]


@dataclass(frozen=True)
class SettingPlace:
    """Where a setting stands in a model."""

    key: str
    """Dotted, N for a position in a list."""
    field: FieldInfo
    default: Any
    is_section: bool
    """Whether it is a model whose own settings follow."""


def places(model: type[BaseModel], given: BaseModel | None, prefix: str = "") -> Iterator[SettingPlace]:
    """The settings of a model and of those inside it, in their order; `given` holds defaults."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        default = field.get_default(call_default_factory=True) if given is None else getattr(given, name)
        inner = model_in(field.annotation)
        if inner in (None, Gate):
            yield SettingPlace(key, field, default, is_section=False)
        elif isinstance(default, BaseModel) or (default is None and not _is_list(field.annotation)):
            yield SettingPlace(key, field, default, is_section=True)
            yield from places(inner, default, f"{key}.")
        else:
            yield SettingPlace(key, field, default, is_section=False)
            yield from places(inner, None, f"{key}.N.")


def _setting(key: str, field: FieldInfo, default: Any, *, changes_result: bool) -> Setting:
    written = REQUIRED if default is PydanticUndefined else _written(default)
    kind = type_in_words(field.annotation, field.metadata)
    return Setting(key, kind, written, field.description or "", changes_result)


def first_line(model: type[BaseModel]) -> str:
    """What a model says of itself."""
    return (model.__doc__ or "").strip().splitlines()[0]


def sentence(text: str | None) -> str:
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


def type_in_words(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """What may be written for a setting, with its range."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner, *told = arguments
        for one in told:
            bounds = [*bounds, *(one.metadata if isinstance(one, FieldInfo) else [one])]
        return type_in_words(inner, bounds)
    if origin in (typing.Union, UnionType):
        return one_of([name for part in arguments for name in _alternatives(part, bounds)])
    if origin is Literal:
        return one_of(_alternatives(annotation))
    if origin in (tuple, list):
        return "list of mappings" if model_in(arguments[0]) else f"list: {type_in_words(arguments[0])}"
    if origin is dict:
        return f"mapping: {type_in_words(arguments[0])} to {type_in_words(arguments[1])}"
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
    return ["null"] if part is NoneType else [type_in_words(part, bounds)]


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


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a value is, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := model_in(part))), None)


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Union, UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return origin in (tuple, list)
