"""The commands about registered models: `models`, `promote`, `rollback`. They need MLflow and no Prefect."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command.options import Commands, Json
from tasks.errors import UsageError

if TYPE_CHECKING:  # MLflow takes a second to import
    from tasks.record.tracking import Tracking
    from tasks.registry.champions import Move

commands = Commands()

Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The registered model; may be left out where there is only one"),
]


@commands.command()
def models(json_: Json = False) -> None:
    """List the registered models: versions, aliases, scores, and why each is champion or not."""
    from tasks.record.tracking import open_tracking
    from tasks.registry.champions import registered

    found = registered(open_tracking())
    if json_:
        from flows.process.console import print_json

        print_json({"status": "completed", "models": found})
    else:
        from rich.console import Console

        from tasks.registry.document import document
        from tasks.show.terminal import show

        show(document(found), Console())


@commands.command()
def promote(
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="As `touchstone models` lists it: NAME/3, NAME@candidate, 3 where there is one model; or a "
            "run that registered one: its id, @latest, a profile",
        ),
    ],
    because: Annotated[str, typer.Option(metavar="REASON", help="Why; it is kept with the version")],
    model: Model = None,
    json_: Json = False,
) -> None:
    """Make a version the champion by hand, whatever was decided on it."""
    from tasks.record.tracking import open_tracking
    from tasks.registry.champions import override

    tracking = open_tracking()
    _tell(override(tracking, *_version(tracking, version, model), because), json_)


@commands.command()
def rollback(
    model: Model = None,
    because: Annotated[str, typer.Option(metavar="REASON", help="Why; it is kept with the version")] = "",
    json_: Json = False,
) -> None:
    """Give the champion's place back to the version that had it before."""
    from tasks.record.tracking import open_tracking
    from tasks.registry.champions import rollback as roll_back
    from tasks.registry.versions import require_model

    tracking = open_tracking()
    _tell(roll_back(tracking, require_model(tracking, model), because), json_)


def _version(tracking: "Tracking", text: str, model: str | None) -> tuple[str, int]:
    """A registered model and the number of one of its versions."""
    from flows.dispatch.names import resolve_version
    from tasks.registry.versions import require_model

    if text.isdecimal():
        return require_model(tracking, model), int(text)
    found = resolve_version(tracking, text)
    if model not in (None, found.name):
        raise UsageError(f"{text!r} is of {found.name}, --model says {model}; leave one of them out")
    return found.name, int(found.version)


def _tell(move: "Move", json_: bool) -> None:
    if json_:
        from flows.process.console import print_json

        print_json({"status": "completed", **asdict(move)})
    else:
        from flows.process.console import print_result
        from tasks.registry.document import move_text
        from tasks.show.text import visible

        print_result(visible(move_text(move)))
