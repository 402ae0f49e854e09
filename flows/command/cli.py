"""The `touchstone` command.

The modules of commands hold what a command line may say, and import what does the work when it is called:
`--help` then waits for Typer alone.
"""

import errno
import gc
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows import VERSION
from flows.command import (
    benchmarking,
    board,
    chat,
    cleaning,
    export,
    generating,
    init,
    judging,
    labels,
    registry,
    runs,
    series,
    serve,
    servers,
    settings,
    sweeping,
    synthesizing,
)
from flows.command.options import (
    HELP,
    RUN,
    Commands,
    DespiteAudit,
    Group,
    Json,
    Mirror,
    Overrides,
    ProfileName,
    Pull,
    Refresh,
    Scorers,
    Verbose,
    end_unless_completed,
    judge_settings,
    part_overrides,
    require_sources,
)
from flows.process.interrupts import STATUS, interrupts
from flows.server.access import sign_in
from tasks.errors import StageError, TouchstoneError
from tasks.machine.home import home

if TYPE_CHECKING:
    from flows.dispatch.cards import Card
    from flows.profiles.profile import Profile
    from tasks.config import Pools

app = Commands(cls=Group, context_settings=HELP, invoke_without_command=True, pretty_exceptions_enable=False)

SUBJECTS = (judging, generating, servers, registry, labels, settings, init, runs, chat, serve, export)
for subject in (*SUBJECTS, board, synthesizing, benchmarking, sweeping, series, cleaning):
    app.add_typer(subject.commands)

BEFORE_TRAINING = ("download", "rows", "base", "tokenize", "suite")

FEW_COLLECTIONS = (
    100_000,
    20,
    20,
)  # objects; by default a quarter of the time that imports take is spent on them
NO_ROOM = 2**20  # bytes: a database that grows needs some pages
CONTINUES = "interrupted; the same command continues where it stopped"


@app.callback()
def touchstone(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and that is all")] = False,
) -> None:
    """Train a language model end to end: every stage cached, resumed, recorded and judged."""
    if version:
        typer.echo(f"touchstone {VERSION}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)


@app.command()
def run(
    profile: ProfileName,
    set_: Overrides = None,
    mirror: Mirror = None,
    refresh: Refresh = None,
    judge: Scorers = None,
    pull: Pull = False,
    despite_audit: DespiteAudit = False,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N", help="Train N times, each with seeds of its own: what holds of the recipe"),
    ] = None,
    pools: Annotated[
        bool, typer.Option("--pools", help="On the work pools: training and generation on gpu-pool")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell which stages would run, why, and what that takes"),
    ] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a profile: from text and instruction rows to a judged model in the registry, with a report."""
    from flows.server.readiness import begin_servers, stages_to_refresh

    overrides, on_pools = part_overrides(set_, pools)
    overrides += judge_settings(judge, pull, despite_audit)
    overrides += [] if seeds is None else [f"seeds={seeds}"]
    loaded, stages = _ready(
        profile,
        overrides,
        mirror,
        verbose,
        refresh=lambda found: stages_to_refresh(refresh or (), found.stages()),
        servers=_nothing if dry_run else lambda: begin_servers(pools),
    )
    if dry_run:
        from flows.command.planning import tell_plan

        tell_plan(loaded, stages, json_)
        return
    outcome = _on_pools(loaded, stages, on_pools) if on_pools else _here(loaded, stages)
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    else:
        _show_outcome(outcome)
    end_unless_completed(outcome)


def _nothing() -> None:
    """A dry run needs no server."""


def _here(profile: "Profile", refresh: list[str]) -> dict[str, Any]:
    from flows.dispatch.results import run_here
    from flows.pipeline import pipeline  # after the checks of the command, which need not wait for it
    from flows.server.readiness import prefect_is_ready
    from tasks.record.tracking import open_tracking

    open_tracking()  # while the server starts: SQLAlchemy takes a second to import
    prefect_is_ready()
    return run_here(pipeline, profile, refresh=refresh)


def _on_pools(profile: "Profile", refresh: list[str], pools: "Pools") -> dict[str, Any]:
    from flows.dispatch.results import outcome_of
    from flows.server.remote_run import run_and_follow

    parameters = {
        "profile": profile.model_dump(mode="json"),
        "refresh": refresh,
        "pools": pools.model_dump(),
    }
    return outcome_of(run_and_follow("touchstone/pipeline", parameters, profile.name))


@app.command()
def preflight(
    profile: ProfileName,
    set_: Overrides = None,
    mirror: Mirror = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check that data, labels, masks and model of a profile are right, without training anything."""
    from flows.server.readiness import begin_prefect, prefect_is_ready, stages_to_refresh

    def to_refresh(found: "Profile") -> list[str]:
        checked = [stage for stage in found.stages() if stage in BEFORE_TRAINING]
        return stages_to_refresh(refresh or (), [*checked, "preflight"])

    loaded, stages = _ready(profile, set_ or (), mirror, verbose, refresh=to_refresh, servers=begin_prefect)
    from rich.console import Console

    from flows.dispatch.results import run_here
    from flows.preflight import checks
    from tasks.preflight.document import document
    from tasks.show.terminal import show

    prefect_is_ready()
    outcome = run_here(checks, loaded, stages)
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    else:
        show(document(outcome), Console())
    end_unless_completed(outcome)


def _ready(
    profile: str,
    overrides: Iterable[str],
    mirror: str | None,
    verbose: bool,
    *,
    refresh: "Callable[[Profile], list[str]]",
    servers: Callable[[], None],
) -> "tuple[Profile, list[str]]":
    """The profile and its stages to do again, once what can be told before Prefect starts is right."""
    from flows.process.console import console
    from flows.profiles.load import load_profile
    from flows.server.readiness import verbosely

    loaded = load_profile(profile, overrides, mirror)
    stages = refresh(loaded)
    verbosely(verbose)
    require_sources(loaded)
    console.say(f"touchstone {loaded.name}: {loaded.description}", style="bold")
    if servers is not _nothing:
        servers()
        console.wait("starting Prefect")
    return loaded, stages


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help=f"{RUN}; the newest if left out")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open its page in a browser")] = False,
    json_: Json = False,
) -> None:
    """Show the report card of a pipeline run, and where its page is."""
    from flows.dispatch.cards import load_report

    if json_:
        from flows.process.console import print_json

        loaded = load_report(run)
        print_json(loaded.report)
    else:
        loaded = _show_report(run)
    if open_:
        _open(loaded.page)


def _show_outcome(outcome: Mapping[str, Any]) -> None:
    """The card, where there is one: of several trainings none may have come to its end."""
    if outcome["report"] is None:
        return
    from flows.command.footer import footer_lines
    from flows.process.console import print_result
    from tasks.record.tracking import open_tracking

    _show_report(outcome["run_id"])
    print_result("\n".join(footer_lines(open_tracking(), outcome)))


def _open(address: str) -> None:
    """Raises StageError where there is no browser to open it."""
    import webbrowser

    if not webbrowser.open(address):
        raise StageError(f"no browser could be opened here; the page is {address}")


def _show_report(run: str | None) -> "Card":
    from rich.console import Console

    from flows.dispatch.cards import load_report
    from tasks.report.document import as_document
    from tasks.show.terminal import show

    loaded, out = load_report(run), Console(highlight=False)
    show(as_document(loaded.report, loaded.cost), out)
    if loaded.now:
        out.print(f"Since then: {loaded.now}", style="bold", markup=False)
    out.print(f"Report card: {loaded.page}", markup=False, soft_wrap=True)
    return loaded


def main() -> None:
    """Run the command; every known error is one message and its exit status, never a traceback."""
    gc.set_threshold(*FEW_COLLECTIONS)
    interrupts.announce, interrupts.is_writing = _say_stopping, _is_writing
    interrupts.at_once = False
    wants_json = "--json" in sys.argv[1:]
    try:
        sign_in()
        status = app(
            prog_name="touchstone", standalone_mode=False
        )  # Typer turns an interruption into a returned 130
        if status == STATUS:
            raise KeyboardInterrupt
        sys.exit(status)
    except typer.TyperException as error:
        _fail(error.format_message(), 2, wants_json)
    except (KeyboardInterrupt, typer.Abort):
        _fail(CONTINUES, STATUS, wants_json)
    except TouchstoneError as error:
        _fail(str(error), error.exit_status, wants_json)
    except Exception as error:
        if interrupts.asked:  # a library made something else of it
            _fail(CONTINUES, STATUS, wants_json)
        if "--verbose" in sys.argv[1:]:
            raise
        if told := _explained(error):
            _fail(str(told), told.exit_status, wants_json)
        _fail(f"{type(error).__name__}: {error} (--verbose shows where)", 1, wants_json)


def _explained(error: Exception) -> TouchstoneError | None:
    """What to tell of an error of the home: a disk that is full, or a folder that is not ours."""
    from tasks.machine.disk import explained, not_ours

    root = home() / "mlruns"
    if "500 Internal Server Error" in str(error) and shutil.disk_usage(home()).free < NO_ROOM:
        error = OSError(errno.ENOSPC, "No space left on device")  # which our Prefect server does not say
    if (told := explained(error, root if root.is_dir() else home())) is not error and isinstance(
        told, TouchstoneError
    ):
        return told
    return not_ours(error, root)


def _is_writing() -> bool:
    from tasks.machine.stopping import is_stoppable

    return is_stoppable()


def _say_stopping(writing: bool) -> None:
    from flows.process.console import console

    what = "stopping, the checkpoint is being written" if writing else "stopping"
    console.say(f"{what}; once more ends at once", style="yellow")


def _fail(message: str, status: int, wants_json: bool) -> NoReturn:
    from flows.process.console import console
    from tasks.machine.secrets import redacted
    from tasks.show.text import visible

    message = visible(redacted(message))  # names of files and texts of servers can hold anything
    console.close()
    if status == STATUS:
        console.say(message, style="yellow")
    else:
        console.say(f"error: {message}", style="red")
    if wants_json:
        outcome = {1: "failed", 2: "usage", 3: "refused"}.get(status, "interrupted")
        from flows.process.console import print_json

        print_json({"status": outcome, "error": message})
    sys.exit(status)
