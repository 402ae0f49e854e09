"""The command `label`: people grade responses, so that scores can be corrected. It needs no Prefect."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command.options import RUN, Commands, Json
from tasks.errors import UsageError

if TYPE_CHECKING:
    from flows.judging.labelling import Judged
    from tasks.judge.labels.store import LabelSet
    from tasks.judge.protocol.responses import ResponseRow

commands = Commands()

PLACES = ("terminal", "csv", "mlflow")


@commands.command()
def label(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help=f"{RUN}, a run with :MODEL, or a registered model; the newest run if left out",
        ),
    ] = None,
    rows: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Rows that are to be labelled in all, drawn from every grade"),
    ] = 40,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="SCORER", help="Whose scores are corrected, and rows drawn by; the headline if left out"
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="PLACE", help="Where to label: terminal (default), csv or mlflow"),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="The file that --to csv writes")] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Take the labels of a file that --to csv wrote"),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who labels; by default the user")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="What rows are drawn by; 123 if left out")
    ] = None,
    json_: Json = False,
) -> None:
    """Grade responses from 0 to 5, blind to the judge; its scores are then corrected by these labels."""
    place = _place(to, output, from_)
    from flows.judging.labelling import drawn_rows, open_labels, person, read_target, target_of, told
    from tasks.record.tracking import open_tracking

    name = person(by)
    tracking = open_tracking()
    target = target_of(tracking, run)
    judged = read_target(tracking, target, judge)
    labels = open_labels(tracking, target, judged, seed)
    drawn = drawn_rows(labels, judged, rows)
    outcome: dict[str, Any] = {"status": "completed", "place": place, "of": target.name, "by": name}
    outcome |= {"drawn": len(drawn), "named": run or target.pipeline}
    outcome |= _labelled(place, labels, drawn, judged, name, output, from_, named=by is not None)
    outcome["labels"] = told(tracking, target, judged)
    if place != "csv" and target.has_card and outcome["labels"]:
        _make_card_anew(target.pipeline)
    _tell(outcome, json_)


def _place(to: str | None, output: Path | None, from_: Path | None) -> str:
    """Where labels come from. Raises UsageError for options that do not go together."""
    if from_ is not None:
        if to or output:
            raise UsageError(
                "--from takes labels from a file; --to and --output are for asking. Leave them out"
            )
        return "from"
    place = to or ("csv" if output else "terminal")
    if place not in PLACES:
        raise UsageError(f"--to {place!r}: expected one of {', '.join(PLACES)}")
    if (place == "csv") != (output is not None):
        raise UsageError("--to csv writes a file, and nothing else does: name it with --output labels.csv")
    return place


def _labelled(
    place: str,
    labels: "LabelSet",
    drawn: "list[ResponseRow]",
    judged: "Judged",
    by: str,
    output: Path | None,
    from_: Path | None,
    named: bool,
) -> dict[str, Any]:
    """Ask, or take what was answered; returns what was done. Unless it is named, a file says by whom."""
    given = labels.given_by(by)
    if place == "terminal":
        return {"given": _in_terminal(labels, drawn, given, by)}
    if place == "csv":
        from tasks.judge.labels.spreadsheet import write_spreadsheet

        write_spreadsheet(output, labels.of, drawn, given, by)
        return {"file": str(output), "given": 0}
    if place == "mlflow":
        from tasks.judge.labels.review import queue_for_review

        traces = labels.with_traces(drawn)
        queue = queue_for_review(labels, [row.id for row in drawn], traces)
        return {"queue": queue, "given": 0}
    from tasks.judge.labels.spreadsheet import read_spreadsheet

    found = read_spreadsheet(from_, labels.of, labels.asked(), by)
    found = [one._replace(by=by) for one in found] if named else found
    known = {(one.row, one.by): one.label for one in labels.labels()}
    changed = [one for one in found if known.get((one.row, one.by)) != one.label]
    rows = {row.id: row for row in judged.rows}
    traces = labels.with_traces([rows[one.row] for one in changed])
    for one in changed:
        labels.save(traces[one.row], one.label, one.by)
    return {"file": str(from_), "given": len(changed)}


def _in_terminal(labels: "LabelSet", drawn: "list[ResponseRow]", given: dict[int, int], by: str) -> int:
    from rich.console import Console

    from tasks.judge.labels.terminal import keyboard, label_rows

    with keyboard() as keys:
        return label_rows(drawn, given, labels.saver(drawn, by), keys, Console(stderr=True, highlight=False))


def _make_card_anew(pipeline: str) -> None:
    """The card of the run, with these labels on it."""
    from flows.dispatch.cards import load_report
    from flows.process.console import console

    console.wait("drawing the report card")
    load_report(pipeline)


def _tell(outcome: dict[str, Any], json_: bool) -> None:
    if json_:
        from flows.process.console import print_result

        print_result(json.dumps(outcome, ensure_ascii=False, allow_nan=False))
    else:
        from rich.console import Console

        from tasks.judge.labels.document import document
        from tasks.show.terminal import show

        show(document(outcome), Console())
