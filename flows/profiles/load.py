"""Loading profiles: a YAML file with what it includes, and `--set` overrides."""

import difflib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from flows.profiles.faults import explain
from flows.profiles.overrides import apply
from flows.profiles.profile import Profile
from flows.profiles.spelling import DOWNLOADS, spell_out
from flows.profiles.yaml_settings import read_override, read_yaml
from tasks.config import StageConfig
from tasks.errors import UsageError
from tasks.machine.home import home

PRETRAINING = (
    "corpus",
    "vocabulary",
    "tokenize",
    "pretrain",
)  # what a base model that is imported needs not
Settings = typing.TypeVar("Settings", bound=StageConfig)


def profiles_folder() -> Path:
    return home() / "deployments" / "profiles"


def profile_names() -> list[str]:
    return sorted(path.stem for path in profiles_folder().glob("*.yaml"))


def _offer(schema: dict[str, Any]) -> None:
    """Make a form's text field a choice of the profiles that there are when the form is made."""
    schema["enum"] = profile_names()


ProfileName = Annotated[str, Field(title="By name", json_schema_extra=_offer)]
ProfileFile = Annotated[str, Field(title="YAML file of the worker's")]


def load_profile(name: str, overrides: Iterable[str] = (), mirror: str | None = None) -> Profile:
    """A profile by name or by the path of a YAML file, with `a.b=c` overrides and a mirror for downloads.

    Paths in the file are relative to it, paths in overrides to the current folder. A file may take sections
    from others: `include: shared/gpt2-vocabulary.yaml`. An override that names a base model takes the place
    of the file's pretraining. The file's description is of the profile as it stands: with overrides it names
    them instead, unless one of them is a description, and what a base model took the place of. Raises
    UsageError naming every key at fault.
    """
    try:
        return Profile.model_validate(profile_settings(name, overrides, mirror))
    except ValidationError as error:
        raise UsageError(f"profile {name}: {explain(error, Profile)}") from error


def profile_settings(name: str, overrides: Iterable[str] = (), mirror: str | None = None) -> dict[str, Any]:
    """What `load_profile` makes a profile of: what is written, with paths and downloads in full."""
    path, overrides = _find(name), list(overrides)
    raw = _read(path)
    raw.setdefault("name", path.stem)
    settings = [read_override(override, Profile) for override in overrides]
    replaced = []
    if "base" not in raw and any(value and ".".join(at) in ("base", "base.model") for at, value in settings):
        replaced = [stage for stage in PRETRAINING if raw.pop(stage, None)]
    for at, value in settings:
        apply(raw, at, value)
        spell_out(raw, Path.cwd())
    if overrides:
        raw.pop("takes", None)  # it is of the file as it stands
    changed = list(dict.fromkeys(override.partition("=")[0].strip() for override in overrides))
    if changed and "description" not in changed:
        raw["description"] = f"the profile {path.stem}, but for {', '.join(changed)}"
    if replaced:
        raw["description"] += f"; base takes the place of {', '.join(replaced)}"
    for source in (*DOWNLOADS, "base", "benchmark"):
        if mirror and isinstance(raw.get(source), dict):
            raw[source]["mirror"] = mirror
    return raw


def load_settings(
    model: type[Settings], stage: str, raw: dict[str, Any], overrides: Iterable[str]
) -> Settings:
    """One stage's settings outside a profile; overrides are as in a profile: `judge.context=8192`.

    Raises UsageError naming every key at fault.
    """
    whole: dict[str, Any] = {stage: raw}
    for override in overrides:
        apply(whole, *read_override(override, {stage: model}))
    if others := [name for name in whole if name != stage]:
        raise UsageError(
            f"--set {others[0]}: this command has the settings of {stage} alone: {stage}.a=value"
        )
    try:
        return model.model_validate(whole[stage])
    except ValidationError as error:
        raise UsageError(explain(error, model, stage)) from error


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UsageError(
                f"profile {name} does not exist; give the path of a YAML file, or one of: "
                f"{', '.join(profile_names())}"
            )
        return Path(name).resolve()
    path = profiles_folder() / f"{name}.yaml"
    if not path.is_file():
        if not profile_names():
            raise UsageError(
                f"there is no profile {name!r}: {profiles_folder()} holds none. Let TOUCHSTONE_HOME "
                "name a folder with mlruns/ and deployments/, or give the path of a YAML file"
            )
        close = difflib.get_close_matches(name, profile_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else "a path to a YAML file works too."
        raise UsageError(f"there is no profile {name!r}; there are {', '.join(profile_names())}; {hint}")
    return path


def _read(path: Path, included_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings in a file and in those that it includes; paths are relative to the file they stand in."""
    raw = read_yaml(path, Profile)
    names = raw.pop("include", [])
    spell_out(raw, path.parent)
    for name in names if isinstance(names, list) else [names]:
        piece = path.parent / str(name)
        if not piece.is_file():
            raise UsageError(f"{path.name}: include: there is no file {piece}")
        above = (*included_by, path.resolve())
        if piece.resolve() in above:
            told = " includes ".join(each.name for each in (*above, piece))
            raise UsageError(f"{path.name}: include: the files are in a circle: {told}")
        found = _read(piece, above)
        if twice := sorted(raw.keys() & found.keys()):
            raise UsageError(f"{path.name}: {', '.join(twice)}: a duplicate, since {piece.name} has it too")
        raw |= found
    return raw
