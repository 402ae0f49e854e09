"""The report card: what was trained, from what, whether it helped, and what it cost.

A pipeline without instruction rows has a card about pretraining alone.

`report.json` holds what the same work gives again and is the output; the page and the times stand beside
it. The page, the terminal and the Prefect artifact all show the same `report` and `cost`, in the words of
`wording`. Nothing heavy is imported with the package: a fully cached run shows the card in no time.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import ReportConfig

if TYPE_CHECKING:  # the record imports MLflow, which takes a second
    from tasks.record import StageRun

REPORT, PAGE, COST = "report.json", "report.html", "cost.json"


def report(
    config: ReportConfig, run: "StageRun", *, corpus: Path, tokens: Path, base: Path, **judged: Path
) -> None:
    """Write `report.json`, and beside it `report.html` and `cost.json`; inputs are the stages' outputs.

    `judged` are those of `card.Judged`, all of them, or none when the pipeline ended after pretraining.
    Raises StageError when base and fine-tuned model were scored on other rows or by another scorer.
    """
    from tasks.report.card import Folders, Judged, card
    from tasks.report.cost import cost_of
    from tasks.report.page import as_html

    folders = Folders(corpus, tokens, base, Judged(**judged) if judged else None)
    found = card(config, folders)
    cost = cost_of(config, run, folders)
    _write_json(run.out / REPORT, found)
    _write_json(run.aside / COST, cost)
    (run.aside / PAGE).write_text(as_html(found, cost), encoding="utf-8")
    shown = found["samples"] if judged else cost["texts"]
    unit = "rows" if judged else "texts"
    run.progress(1, 1, "report", f"{len(shown['rows'])} of {shown['of']} {unit} shown")


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
