"""The report card: what was trained, from what, whether it helped, and what it cost.

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
    config: ReportConfig,
    run: "StageRun",
    *,
    corpus: Path,
    instructions: Path,
    rows: Path,
    tokens: Path,
    base: Path,
    tuned: Path,
    base_responses: Path,
    tuned_responses: Path,
    base_scores: Path,
    tuned_scores: Path,
    promotion: Path,
) -> None:
    """Write `report.json`, and beside it `report.html` and `cost.json`; inputs are the stages' outputs.

    Raises StageError when base and fine-tuned model were scored on other rows or by another scorer.
    """
    from tasks.report.card import Folders, card
    from tasks.report.cost import cost_of
    from tasks.report.page import as_html

    found = card(
        config,
        Folders(
            corpus=corpus,
            instructions=instructions,
            rows=rows,
            tokens=tokens,
            base=base,
            tuned=tuned,
            base_responses=base_responses,
            tuned_responses=tuned_responses,
            base_scores=base_scores,
            tuned_scores=tuned_scores,
            promotion=promotion,
        ),
    )
    cost = cost_of(run)
    _write_json(run.out / REPORT, found)
    _write_json(run.aside / COST, cost)
    (run.aside / PAGE).write_text(as_html(found, cost), encoding="utf-8")
    run.progress(1, 1, "report", f"{len(found['samples']['rows'])} of {found['samples']['of']} rows shown")


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
