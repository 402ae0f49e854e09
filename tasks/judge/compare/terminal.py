"""A comparison in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.judge.compare.page import cells, labels_sentence, moved_title, orders, sentences
from tasks.machine.json_files import Json
from tasks.show.text import one_line, visible


def show(report: Json, console: Console) -> None:
    """Print what A minus B is by every scorer, and the rows that moved most side by side."""
    console.print(Text(f"A  {visible(report['a'])}\nB  {visible(report['b'])}", "bold"))
    found = [report["pairwise"]] if report["pairwise"] else []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, difference in enumerate([*found, *report["differences"]]):
        line = cells(difference)
        if found and place == 0:
            line["by"] += ", both"
        if place == 0:
            for column in line:
                table.add_column(column, overflow="fold")
        table.add_row(*map(Text, line.values()), style="bold" if place == 0 else "")
    console.print(table)
    for difference in [*found, *report["differences"][:1]]:
        console.print(Text(" ".join(sentences(difference)), "bold"))
    if told := labels_sentence(report):
        console.print(Text(told, "bold"))
    for pairwise in found:
        if "contradictions" in pairwise:
            console.print(Text(orders(pairwise)))
    if report["moved"]:
        console.print(Text(moved_title(report), "bold"))
    for row in report["moved"]:
        console.print(_row(row, max(20, console.width - 24)))


def _row(row: Json, room: int) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in (10, 7, 0):
        grid.add_column(overflow="fold", min_width=width)
    question = " ".join((row["instruction"], row["input"]))
    grid.add_row(
        Text("prompt", "dim"), Text(f"{row['by']:+.1f}", "bold"), Text(one_line(question, room), "bold")
    )
    for name in ("a", "b"):
        answer = row[name]
        score = "" if answer["score"] is None else f"{answer['score']:.1f}"
        grid.add_row(Text(name.upper()), Text(score), Text(one_line(answer["response"], room) or "(nothing)"))
        if answer["reason"]:
            grid.add_row(Text(), Text(), Text(one_line(answer["reason"], room), "dim italic"))
    grid.add_row(Text("reference", "dim"), Text(), Text(one_line(row["reference"], room)), end_section=True)
    return grid
