"""What several commands have in common: their options, and how a refusal ends them."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tasks.errors import RefusedError, StageError, UsageError

if TYPE_CHECKING:
    from flows.profiles.profile import Profile
    from tasks.config import Pools
    from tasks.show.document import Document

    Documents = Callable[[dict[str, Any]], Sequence[Document]]

HELP = {"help_option_names": ["-h", "--help"]}


class _FlagsWithoutType:
    """Typer shows what an option wants to be given; a flag is given nothing, and not a <bool>."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class _Command(_FlagsWithoutType, TyperCommand):
    """One command."""


class Group(_FlagsWithoutType, TyperGroup):
    """The command that the others are in."""


class Commands(typer.Typer):
    """Commands whose help is alike."""

    def command(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return super().command(*arguments, cls=_Command, **options)


RUN = "A run's id or its beginning, @latest, a profile that was run, NAME/3 or NAME@champion"
"""What `flows/dispatch/names.py` resolves, in the help of arguments."""


def _complete_profile(incomplete: str) -> list[str]:
    from flows.profiles.load import profile_names

    return [name for name in profile_names() if name.startswith(incomplete)]


ProfileName = Annotated[
    str,
    typer.Argument(
        help="A name from `touchstone profiles`, or a YAML file", autocompletion=_complete_profile
    ),
]
Mirror = Annotated[str | None, typer.Option(metavar="DIR_OR_URL", help="Where every download looks first")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show Prefect's log lines, and tracebacks of defects")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated")
]
Refresh = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Do a stage again, by its name, or all of them; may be repeated"),
]
Scorers = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="SCORER",
        help="ollama:, openai:, hf: or reward:MODEL, or metric:chrf, bleu, rouge-l, exact; several judges: "
        "their mean",
    ),
]
Pull = Annotated[bool, typer.Option("--pull", help="Let Ollama fetch a judge that it does not have")]
DespiteAudit = Annotated[
    bool, typer.Option("--despite-audit", help="Count a judge's scores though it failed its audit")
]


Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=COLUMN", help="What another column is called: output=answer"),
]


def parse_columns(mapped: list[str] | None) -> dict[str, str]:
    """What `--column NAME=COLUMN` says. Raises UsageError for what is no such pair."""
    found = {}
    for each in mapped or ():
        name, equals, column = each.partition("=")
        if not (name and equals and column):
            raise UsageError(f"--column {each!r}: expected NAME=COLUMN, for example output=answer")
        found[name] = column
    return found


def require_sources(profile: "Profile") -> None:
    """Raises what tells that a file of a profile is missing, or the registered model that it starts from."""
    from flows.profiles.spelling import DOWNLOADS
    from tasks.download.stage import fingerprints

    for name in DOWNLOADS:
        if download := getattr(profile, name):
            fingerprints(download)
    if profile.base and profile.base.is_registered:
        from tasks.record.tracking import open_tracking
        from tasks.registry.resolve import resolve

        resolve(open_tracking(), profile.base.model)


def part_overrides(set_: list[str] | None, pools: bool) -> "tuple[list[str], Pools | None]":
    """What `--set` says of the profile, and with `--pools` how these are waited for.

    Raises UsageError for a wrong setting of the waiting.
    """
    given = set_ or []
    if not pools:
        return given, None
    from flows.profiles.load import load_settings
    from tasks.config import Pools

    waiting = [override for override in given if override.startswith("pools.")]
    others = [override for override in given if override not in waiting]
    return others, load_settings(Pools, "pools", {}, waiting)


def host_option(option: str, text: str, ports: str = "") -> str:
    """A host of the command line; `ports` says where its port is told. Raises UsageError for what is none."""
    from tasks.machine.addresses import parse_host

    try:
        return parse_host(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}{ports}") from error


def judge_settings(scorers: list[str] | None, pull: bool = False, despite_audit: bool = False) -> list[str]:
    """The overrides that the options on judges stand for."""
    found = []
    if scorers:
        named = scorers[0] if len(scorers) == 1 else scorers
        quoted = json.dumps(named, ensure_ascii=False)  # a folder may have a comma
        found.append(f"judge.scorer={quoted}")
    if pull:
        found.append("judge.pull=true")
    if despite_audit:
        found.append("judge.despite_audit=true")
    return found


def end_unless_completed(outcome: dict[str, Any]) -> None:
    """End the command with the status of a refusal or a failure, and its reason, when that came of it."""
    from flows.process.console import console

    statuses = {"refused": RefusedError.exit_status, "failed": StageError.exit_status}
    if outcome["status"] in statuses:
        console.say(f"error: {outcome['error']}", style="red")
        raise typer.Exit(statuses[outcome["status"]])


def end_with_documents(outcome: dict[str, Any], documents: "Documents", json_: bool) -> None:
    """Print what a command tells: as JSON, or as documents and where the rest is; end as it went."""
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    else:
        from rich.console import Console

        from tasks.show.terminal import show

        out = Console(highlight=False)
        for document in documents(outcome):
            show(document, out)
        told = f"MLflow run {outcome['run_id']}: every call, score and page is in its stages"
        out.print(told, style="dim", soft_wrap=True)
    end_unless_completed(outcome)
