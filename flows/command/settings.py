"""The commands about what can be run: `settings`, `profiles`. They need neither Prefect nor MLflow."""

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command.options import Commands, Json
from tasks.errors import UsageError

if TYPE_CHECKING:
    from flows.profiles.settings_reference import Section

commands = Commands()


def _complete_section(incomplete: str) -> list[str]:
    from flows.profiles.settings_reference import settings_reference

    names = (name for section in settings_reference() for name in section.names)
    return [name for name in names if name.startswith(incomplete)]


@commands.command()
def settings(
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION]",
            help="pretrain, or one key of it: pretrain.steps; all sections if left out",
            autocompletion=_complete_section,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """List the settings of a profile: every key with its type, its default and its meaning."""
    from flows.profiles.settings_reference import settings_reference

    found = settings_reference()
    if section:
        found = [_named(section, found)]
    if json_:
        from flows.process.console import print_json

        print_json({"status": "completed", "sections": [asdict(one) for one in found]})
    else:
        _show(found)


def _named(text: str, sections: "list[Section]") -> "Section":
    """A section, or as much of it as has the key. Raises UsageError that suggests a name."""
    from flows.profiles.settings_reference import Section

    name, _, key = text.partition(".")
    own = next((one for one in sections if name in one.names), None)
    if own is None:
        names = [name for one in sections for name in one.names]
        raise UsageError(f"there is no section {name!r}; {_suggestion(name, names)}")
    if not key:
        return own
    plain = ".".join("N" if part.isdecimal() else part for part in key.split("."))
    chosen = [one for one in own.settings if one.key == plain or one.key.startswith(f"{plain}.")]
    if not chosen:
        hint = _suggestion(plain, [one.key for one in own.settings], f"{name}.")
        raise UsageError(f"there is no setting {text!r}; {hint}")
    return Section(own.names, own.meaning, tuple(chosen))


def _suggestion(name: str, names: list[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {prefix}{close[0]}?" if close else f"there are {', '.join(names)}"


def _show(sections: "list[Section]") -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    out = Console(highlight=False)
    for section in sections:
        out.print(Text(", ".join(section.names), "bold"), Text(section.meaning, "dim"))
        for setting in section.settings:
            default = f"default: {setting.default}" if setting.default != "(required)" else "required"
            head = Text.assemble((setting.key, "cyan"), f"  {setting.type}  ", (default, "dim"))
            out.print(Padding(head, (0, 0, 0, 2)))
            out.print(Padding(Text(setting.meaning), (0, 0, 0, 6)))
        out.print()


@commands.command()
def profiles(json_: Json = False) -> None:
    """List the profiles: what each trains, and the time, memory, network and device that it takes."""
    from flows.process.console import print_json, print_result
    from flows.profiles.load import load_profile, profile_names

    found = [load_profile(name) for name in profile_names()]
    if json_:
        told = [
            {"name": one.name, "description": one.description, "stages": one.stages()}
            | (one.takes.model_dump() if one.takes else {})
            for one in found
        ]
        print_json({"status": "completed", "profiles": told})
        return
    for one in found:
        print_result(f"{one.name:<14} {one.description}")
        for what, value in one.takes.model_dump().items() if one.takes else ():
            print_result(f"{'':<16} {what:<8} {value}")
