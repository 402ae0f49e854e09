"""The commands about runs: `runs`, `logs`, `cancel`."""

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command.options import RUN, Commands, Json
from tasks.errors import UsageError

if TYPE_CHECKING:
    from flows.dispatch.history import PastRun

commands = Commands()

COLUMNS = ("id", "profile", "state", "when", "took", "score", "model", "disk")
STYLES = {"finished": "green", "failed": "red", "refused": "red", "running": "cyan"}
WIDE = 110  # columns of a terminal from which on a table fits

NamedRun = Annotated[str, typer.Argument(metavar="RUN", help=f"{RUN}; the newest of any state")]


@commands.command()
def runs(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help=f"One run, with its stages: {RUN}")
    ] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this profile")] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="running, finished, failed, refused or interrupted")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begun since then: 12h, 7d, or 2026-11-28")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most")] = 20,
    json_: Json = False,
) -> None:
    """List the pipeline runs, newest first: state, time, score, model version and disk."""
    from datetime import datetime

    from flows.dispatch.history import NAMED_STATES, parse_since, past_run, past_runs, stages_of
    from flows.dispatch.names import resolve_name
    from tasks.record.run_lifecycle import reap_orphaned_runs
    from tasks.record.tracking import open_tracking

    if state not in (None, *NAMED_STATES):
        raise UsageError(f"--state {state!r}: expected {', '.join(NAMED_STATES)}")
    begun = None if since is None else parse_since(since, datetime.now().astimezone())
    if run is not None and (profile or state or since):
        raise UsageError("--profile, --state and --since choose among runs; leave them out beside one run")
    tracking = open_tracking()
    reap_orphaned_runs(tracking)  # what was killed is told as that, and not as running
    stages: list[dict[str, Any]] | None = None
    if run is None:
        found = list(islice(past_runs(tracking, profile, state, begun), limit))
    else:
        named = resolve_name(tracking, run, finished=False).run
        found, stages = [past_run(tracking, named)], stages_of(named)
    if json_:
        from flows.process.console import print_json

        told = {"status": "completed", "runs": [asdict(one) for one in found]}
        print_json(told if stages is None else told | {"stages": stages})
    else:
        _show(found)
        if stages is not None:
            _show_details(found[0], stages)


@commands.command()
def logs(
    run: NamedRun = "@latest",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended, or Ctrl-C")
    ] = False,
) -> None:
    """Print what a run and its stages logged."""
    from flows.dispatch.names import resolve_name
    from flows.process.console import console, print_result
    from flows.server.readiness import begin_prefect, prefect_is_ready
    from tasks.record.tracking import open_tracking

    tracking = open_tracking()
    named = resolve_name(tracking, run, finished=False).run
    begin_prefect()
    console.wait("starting Prefect, which keeps the logs")
    prefect_is_ready()
    from flows.server.live_runs import log_lines

    there_are_any = False
    for line in log_lines(tracking, named, follow):
        there_are_any = True
        print_result(line)
    if not there_are_any:
        console.say(
            f"run {named.info.run_id[:8]} ({named.info.run_name}) has no log on this Prefect server; its "
            f"stages are in MLflow: touchstone runs {named.info.run_id[:8]}"
        )


@commands.command()
def cancel(run: NamedRun, json_: Json = False) -> None:
    """Stop a running run as Ctrl-C does where it was started; it can be continued."""
    from flows.dispatch.history import STATES
    from flows.dispatch.names import resolve_name
    from flows.process.console import console, print_json, print_result
    from flows.server.live_runs import cancel_run
    from tasks.record.tracking import open_tracking

    tracking = open_tracking()
    named = resolve_name(tracking, run, finished=False).run
    console.wait("waiting for the run to stop")
    state = STATES[cancel_run(tracking, named)]
    if json_:
        print_json({"status": "completed", "run_id": named.info.run_id, "state": state})
    else:
        print_result(
            f"run {named.info.run_id[:8]} ({named.info.run_name}) is {state}; the command that started it "
            "continues where it stopped"
        )


def _show(found: "list[PastRun]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tasks.show.text import visible

    out = Console(highlight=False)
    if not found:
        out.print("There is no such run. `touchstone run quickstart` starts one.", markup=False)
        return
    rows = [[Text(visible(cell)) for cell in _cells(run)] for run in found]
    for run, cells in zip(found, rows, strict=True):
        cells[2].stylize(STYLES.get(run.state, "yellow"))
    if out.width < WIDE:
        for cells in rows:
            out.print(Text("  ").join(cells[:5]))
            out.print(Padding(Text("  ").join(cell for cell in cells[5:] if cell), (0, 0, 0, 10)))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        justify = "right" if column in ("took", "disk") else "left"
        table.add_column(column, overflow="fold", justify=justify, no_wrap=column != "model")
    for cells in rows:
        table.add_row(*cells)
    out.print(table)


def _cells(run: "PastRun") -> tuple[str, ...]:
    from datetime import datetime

    from tasks.show.text import duration, size

    score, model = "", ""
    if run.score and run.score["mean"] is not None:
        score = f"{run.score['mean']:.1f}"
        if run.score["low"] is not None:
            score += f" ({run.score['low']:.1f} to {run.score['high']:.1f})"
    if run.model:
        model = f"{run.model['name']}/{run.model['version']}" + (" champion" if run.model["champion"] else "")
    begun = datetime.fromisoformat(run.started).astimezone()
    when = f"{begun:%d %b %H:%M}" if begun.year == datetime.now().year else f"{begun:%Y-%m-%d}"
    disk = "" if run.bytes is None else size(run.bytes)
    return run.short_id, run.name, run.state, when, duration(run.seconds), score, model, disk


def _show_details(run: "PastRun", stages: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tasks.show.text import duration, visible

    out = Console(highlight=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    for stage in stages:
        state = "cached" if stage["cached"] else duration(stage["seconds"])
        table.add_row(stage["name"], state, f"MLflow run {stage['run_id']}")
    out.print(table)
    if run.error:
        out.print(f"It ended because: {visible(run.error)}", markup=False)
    out.print(f"MLflow run {run.run_id}", markup=False, style="dim")
