"""An audit in a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.judge.audit.wording import (
    CONTROLS,
    NOT_MEASURED,
    fails,
    found,
    headline,
    interval,
    not_falsifiable,
    not_measured,
    passes,
    points,
)
from tasks.judge.protocol.refusals import identity_lines, refusal_lines
from tasks.machine.json_files import Json
from tasks.show.text import visible

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", NOT_MEASURED: "dim"}


def show(report: Json, console: Console) -> None:
    """Print the verdict, every gate, and what each kind of control was given."""
    console.print(Text(visible(headline(report)), STYLES[report["verdict"]]))
    for line in [*identity_lines(report["scorer"]), *refusal_lines(report["refusals"])]:
        console.print(Text(visible(line), "yellow"))
    if told := not_falsifiable(report):
        console.print(Text(told, "yellow"))
    gates = _table("gate", "found", "95% interval", "passes", "fails", "verdict")
    for gate in report["gates"]:
        cells = [gate["name"], found(gate), interval(gate), passes(gate), fails(gate), gate["verdict"]]
        gates.add_row(*map(Text, cells), style=STYLES[gate["verdict"]] if gate["verdict"] != "pass" else "")
    console.print(gates)
    if told := not_measured(report):
        console.print(Text(told))
    kinds = _table("answer", "worth", "count", "mean", "lowest", "highest", "missing", "not made")
    for kind in report["controls"]:
        numbers = [points(kind[name]) for name in ("mean", "lowest", "highest")]
        counts = [str(kind[name]) for name in ("missing", "left_out")]
        cells = [CONTROLS[kind["kind"]], kind["group"], str(kind["count"]), *numbers, *counts]
        kinds.add_row(*map(Text, cells))
    if report["controls"]:
        console.print(kinds)
    for why in report["missing_because"]:
        console.print(Text(f"{why['count']:,} answers are missing because {visible(why['reason'])}"))


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_all(reports: Json, console: Console) -> None:
    """Print the audits of one judge on several criteria."""
    for report in reports["audits"]:
        show(report, console)
