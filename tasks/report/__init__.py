"""The report card: what was trained, from what, whether it helped, and what it cost.

The inputs decide what the card is about: `card.py` says which there may be.

`report.json` holds what the same work gives again and is the output; the page and the times stand beside
it. The page, the terminal and the Prefect artifact all show the same `report` and `cost`, in the same
words. Nothing heavy is imported with the package: a fully cached run shows the card in no time.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import ReportConfig

if TYPE_CHECKING:  # the record imports MLflow, which takes a second
    from tasks.record.stage import StageRun


def report(config: ReportConfig, run: "StageRun", **inputs: Path) -> None:
    """Write `report.json`, and beside it `report.html` and `cost.json`; inputs are the stages' outputs.

    Raises StageError when models were scored on other rows or by another scorer.
    """
    from tasks.report.card import card
    from tasks.report.cost import cost_of
    from tasks.report.document import as_document
    from tasks.report.outputs import write_cost, write_page, write_report
    from tasks.show.html import as_html

    run.phase("drawing the report card")
    found, rows = card(config, inputs)
    cost = cost_of(config, run, inputs)
    write_report(run.out, found)
    write_cost(run.auxiliary, cost)
    write_page(run.auxiliary, as_html(as_document(found, cost, rows)))
    shown = found.get("samples") or found.get("examples") or cost["texts"]
    run.progress(1, 1, "report", f"{len(shown['rows'])} of {shown['of']} examples shown")
