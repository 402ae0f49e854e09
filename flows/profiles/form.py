"""A profile's settings as a form: a field for each, in sections, made from the models that validate them.

A field's value is the text that would stand after `--set KEY=`, so what a form says is what the command says.
"""

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from flows.profiles.load import load_profile, profile_settings
from flows.profiles.profile import Profile
from flows.profiles.settings_reference import PROFILE, first_line, model_in, places, sentence, type_in_words
from tasks.config import StageConfig

Kind = Literal["section", "flag", "choice", "number", "text"]
NULL = "null"


@dataclass(frozen=True)
class FormField:
    """One setting of a form."""

    key: str
    """Dotted, with its section: `pretrain.steps`."""
    kind: Kind
    """`section`: whether the settings below it are there at all. A list or a mapping is text, in brackets."""
    choices: tuple[str, ...]
    """Of a choice; `null` among them where it may be left out."""
    is_optional: bool
    meaning: str
    type: str
    """What may be written, in words, with its range."""


@dataclass(frozen=True)
class FormSection:
    """The settings of one section."""

    name: str
    meaning: str
    fields: tuple[FormField, ...]


@cache
def form_sections() -> tuple[FormSection, ...]:
    """Every section, in the order of a profile; what stands outside its sections comes first."""
    top, sections = [], []
    for name, field in Profile.model_fields.items():
        model = model_in(field.annotation)
        if name == "takes":
            continue  # words about the file as it stands
        if model is None:
            top.append(_field(name, field.annotation, field.description, field.metadata))
            continue
        own = tuple(_fields(name, model, field.default if isinstance(field.default, BaseModel) else None))
        if field.default is None:
            own = (
                FormField(name, "section", (), True, f"whether the profile has a section {name}", ""),
                *own,
            )
        meaning = ". ".join(filter(None, (sentence(field.description), sentence(first_line(model)))))
        sections.append(FormSection(name, f"{meaning}.", own))
    return (FormSection(PROFILE, "What stands outside the sections.", tuple(top)), *sections)


def _fields(section: str, model: type[BaseModel], given: BaseModel | None) -> Iterator[FormField]:
    for place in places(model, given):
        if ".N." in place.key:
            continue  # of a list, which is one field
        key, field = f"{section}.{place.key}", place.field
        if not place.is_section:
            yield _field(key, field.annotation, field.description, field.metadata)
        elif place.default is None:
            yield FormField(key, "section", (), True, field.description or "", "")


def _field(key: str, annotation: Any, meaning: str | None, metadata: list[Any]) -> FormField:
    parts = list(_parts(annotation))
    is_optional = NoneType in parts
    plain = [part for part in parts if part is not NoneType]
    choices: tuple[str, ...] = ()
    kind: Kind = "text"
    if plain == [bool] and not is_optional:
        kind = "flag"
    elif all(typing.get_origin(part) is Literal for part in plain):
        kind = "choice"
        choices = tuple(str(value) for part in plain for value in typing.get_args(part))
        choices += (NULL,) if is_optional else ()
    elif all(part in (int, float) for part in plain):
        kind = "number"
    return FormField(key, kind, choices, is_optional, meaning or "", type_in_words(annotation, metadata))


def _parts(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, without what else is said of them."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    elif origin in (typing.Union, UnionType):
        for part in typing.get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def form_values(profile: Profile) -> dict[str, str]:
    """The value of each field in a profile; of what it does without, the default."""
    return {field.key: _value(profile, field) for section in form_sections() for field in section.fields}


def _value(profile: Profile, field: FormField) -> str:
    found: Any = profile
    model: type[BaseModel] = Profile
    *parents, last = field.key.split(".")
    for name in parents:
        model = model_in(model.model_fields[name].annotation)
        found = None if found is None else getattr(found, name)
    if field.kind == "section":
        return _flag(found is not None and getattr(found, last) is not None)
    if found is None:
        default = model.model_fields[last].get_default(call_default_factory=True)
        return "" if model.model_fields[last].is_required() else as_override(default)
    return as_override(getattr(found, last))


def as_override(value: Any) -> str:
    """A setting's value as it stands after `--set KEY=`."""
    if value is None or isinstance(value, bool):
        return NULL if value is None else _flag(value)
    if isinstance(value, StageConfig | tuple | list | dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    return str(value)


def _plain(value: Any) -> Any:
    """As JSON has it, without what is at its default."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def overrides_of(changed: Mapping[str, str]) -> list[str]:
    """What goes after `--set` for fields that a person has changed, each by its key; sections come first."""
    by_key = {field.key: field for section in form_sections() for field in section.fields}
    opened = {key for key in changed if by_key[key].kind == "section"}
    found = []
    for key in sorted(changed, key=lambda key: key not in opened):
        if key not in opened:
            found.append(f"{key}={changed[key]}")
        elif changed[key] == "false":
            found.append(f"{key}={NULL}")
        elif not any(other.startswith(f"{key}.") for other in changed):
            found.append(f"{key}={{}}")
    return found


def as_yaml(name: str, overrides: list[str]) -> str:
    """A profile with its overrides as the text of a file that stands for both, its paths in full.

    Raises UsageError naming every key at fault.
    """
    load_profile(name, overrides)
    raw = profile_settings(name, overrides)
    return yaml.safe_dump(_plain(raw), sort_keys=False, allow_unicode=True, width=110)
