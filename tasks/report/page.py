"""The card as one HTML file that needs nothing else: no network, no script, no font."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.judge.labels import labels_wording
from tasks.judge.score import scores_wording
from tasks.registry.promote.promotion_wording import decision_rows
from tasks.report import classes_wording, judging_wording, seeds_wording, wording
from tasks.report.charts import chart
from tasks.report.verdict import verdict
from tasks.show import text

TEMPLATE = "page.html.j2"


def as_html(report: dict[str, Any], cost: dict[str, Any]) -> str:
    """The page. All text is escaped by the template engine, and control characters are made visible."""
    page = _environment().get_template(TEMPLATE)
    return page.render(
        report=report,
        cost=cost,
        verdict=verdict(report),
        charts=[chart(curve) for curve in report["curves"]],
        texts=text,
        words=wording,
        scores=scores_wording,
        judging=judging_wording,
        labelling=labels_wording,
        classes=classes_wording,
        seeds=seeds_wording,
        decision_rows=decision_rows,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["incomplete"] = scores_wording.is_incomplete
    environment.filters |= {"visible": text.visible, "count": "{:,}".format}
    return environment
