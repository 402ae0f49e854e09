"""The card as one HTML file that needs nothing else: no network, no script, no font."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.report import charts, wording

TEMPLATE = "page.html.j2"


def as_html(report: dict[str, Any], cost: dict[str, Any]) -> str:
    """The page. All text is escaped by the template engine, and control characters are made visible."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = wording.visible
    losses = {name: charts.loss_chart(curve) for name, curve in report["curves"].items()}
    page = environment.get_template(TEMPLATE)
    return page.render(report=report, cost=cost, losses=losses, words=wording)
