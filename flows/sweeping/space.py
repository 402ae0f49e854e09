"""What `--over` says, and whether a profile takes every value that is to be tried."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from pydantic import ValidationError

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from flows.sweeping.objectives import Objective, require_tellable
from tasks.config import SweepDimension
from tasks.errors import UsageError
from tasks.record.manifest import canonical_json

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(:log)?")
LOG = ":log"
EXPECTED = "expected SECTION.KEY=FROM..TO, FROM..TO:log, or A,B,C; for example finetune.lora.rank=4,8,16"
MOST_POINTS = 1000  # of a grid
BETWEEN = 0.618  # of a range: where there is no whole number

Space = tuple[SweepDimension, ...]
Settings = Mapping[str, str]
"""What a trial sets, as it is written after `--set`."""


@dataclass(frozen=True)
class ProfileSource:
    """A profile as the command names it."""

    profile: str
    overrides: tuple[str, ...] = ()
    mirror: str | None = None

    def with_settings(self, settings: Settings) -> "ProfileSource":
        """The same profile as a trial sets it."""
        more = (f"{name}={value}" for name, value in settings.items())
        return replace(self, overrides=(*self.overrides, *more))

    def load(self, settings: Settings | None = None) -> Profile:
        """The profile with a trial's settings. Raises UsageError as `load_profile` does."""
        source = self.with_settings(settings or {})
        return load_profile(source.profile, source.overrides, source.mirror)


def parse_space(over: Sequence[str]) -> Space:
    """The dimensions that `--over` names. Raises UsageError for what names none."""
    if not over:
        raise UsageError(f"--over is missing: {EXPECTED}")
    space = tuple(map(parse_dimension, over))
    names = [one.setting for one in space]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--over {twice[0]}: a duplicate; give all its values at once: {twice[0]}=A,B,C")
    return space


def parse_dimension(text: str) -> SweepDimension:
    """One `--over`. Raises UsageError for anything else than a range or a list of values."""
    setting, equals, told = (part.strip() for part in text.partition("="))
    if not (equals and setting and told):
        raise UsageError(f"--over {text!r}: {EXPECTED}")
    try:
        if found := RANGE.fullmatch(told):
            low, high, log = found.groups()
            whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high))
            return SweepDimension(
                setting=setting, low=float(low), high=float(high), log=bool(log), whole=whole
            )
        if told.endswith(LOG) or re.search(r"\d\.\.+[-\d]", told):
            raise UsageError(f"--over {text!r}: {told!r} is no range of numbers; {EXPECTED}")
        return SweepDimension(setting=setting, values=tuple(_values(told)))
    except ValidationError as error:
        raise UsageError(f"--over {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _values(told: str) -> Iterator[str]:
    """The parts between commas; one within brackets, braces or quotes is a part of a value."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(told):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield told[start:place].strip()
            start = place + 1
    yield told[start:].strip()


def check_space(source: ProfileSource, profile: Profile, objective: Objective, space: Space) -> None:
    """Raises UsageError for a dimension that cannot be tried, before anything is.

    Each value of a list and each end of a range is read into the profile, and what lies between the ends.
    """
    for dimension in space:
        require_tellable(profile, objective, dimension.setting)
    base = {one.setting: _tried(one)[0] for one in space}
    for dimension in space:
        seen: dict[str, str] = {}
        for text in _tried(dimension):
            loaded = source.load(base | {dimension.setting: text})
            made = _what_is_made(loaded, dimension.setting)
            if made in seen:
                raise UsageError(
                    f"--over {dimension.setting}: {seen[made]} and {text} make the same, so that they are no "
                    "two trials"
                )
            seen[made] = text


def _tried(dimension: SweepDimension) -> Sequence[str]:
    if not dimension.is_range:
        return dimension.values
    ends = [dimension.low, dimension.high]
    if not dimension.whole:
        ends.insert(1, dimension.low + BETWEEN * (dimension.high - dimension.low))
    return list(map(dimension.text, ends))


def _what_is_made(profile: Profile, setting: str) -> str:
    """The part of the keys that the setting's section makes."""
    return canonical_json(getattr(profile, setting.partition(".")[0]).key_fields()).decode()


def size_of(space: Space) -> int | None:
    """How many combinations there are; None where there is no end to them."""
    sizes = [one.size for one in space]
    return None if None in sizes else prod(sizes)


def grid_of(space: Space) -> list[dict[str, str]]:
    """Every combination, the last setting changing fastest.

    Raises UsageError for a range between whose ends there is no end of numbers, and for too many.
    """
    for one in space:
        if one.size is None:
            raise UsageError(
                f"--over {one.setting}: a grid has an end; list the values, as "
                f"{one.setting}={one.text(one.low)},{one.text(one.high)}, or use --sampler random or tpe"
            )
    if (count := size_of(space)) > MOST_POINTS:
        raise UsageError(
            f"--over: {count:,} combinations, and a grid has at most {MOST_POINTS:,}. Give fewer values, or "
            "use --sampler random or tpe"
        )
    names = [one.setting for one in space]
    choices = (one.choices() for one in space)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]


def own_point(source: ProfileSource, profile: Profile, space: Space) -> dict[str, str] | None:
    """The settings that the profile has by itself, where they are among what is tried."""
    own = {one.setting: _own_value(source, profile, one) for one in space}
    return None if None in own.values() else own


def _own_value(source: ProfileSource, profile: Profile, dimension: SweepDimension) -> str | None:
    value = profile
    for name in dimension.setting.split("."):
        value = getattr(value, name, None)
    if dimension.is_range:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = is_number and dimension.low <= value <= dimension.high
        return dimension.text(value) if inside else None
    own = _what_is_made(profile, dimension.setting)
    loads = ((text, source.load({dimension.setting: text})) for text in dimension.values)
    return next((text for text, loaded in loads if _what_is_made(loaded, dimension.setting) == own), None)
