"""The files of a report card: what is shown, and beside it what it cost and the page."""

import json
from pathlib import Path

from tasks.machine.json_files import Json, read_json, write_json
from tasks.record.outputs import AUXILIARY, read_auxiliary
from tasks.record.work import Reference

REPORT, COST, PAGE = "report.json", "cost.json", "report.html"


def write_report(folder: Path, report: Json) -> None:
    """Raises ValueError for a number that is not finite, as `write_cost` does."""
    write_json(folder / REPORT, report)


def read_report(folder: Path) -> Json:
    return read_json(folder / REPORT)


def write_cost(auxiliary: Path, cost: Json) -> None:
    write_json(auxiliary / COST, cost)


def read_cost(card: Reference) -> Json:
    """What the stages of a card cost, by the reference to the card."""
    return json.loads(read_auxiliary(card, COST))


def write_page(auxiliary: Path, page: str) -> None:
    (auxiliary / PAGE).write_text(page, encoding="utf-8")


def page_address(card: Reference) -> str:
    """Where the page of a card is."""
    return f"{card.uri}/{AUXILIARY}/{PAGE}"
