"""The geometry of the card's charts, in percent of their plot area; the template draws it.

Percentages let the page stretch a plot to any width while its words keep their size, and leave the colours
to the style sheet, which knows light from dark.
"""

import math
from dataclasses import dataclass
from typing import Any

from tasks.report.wording import UNITS
from tasks.show.text import short

Tick = tuple[float, str]
"""Position in percent, and label."""


@dataclass(frozen=True)
class Line:
    """One curve: SVG path data on a field of 100 by 100, y downwards."""

    name: str
    path: str
    band: str
    """From the lowest to the highest of the values behind each point; empty when each is one value."""
    dots: str
    """Every point as a line of no length, which a round line cap makes a dot; empty for many points."""
    note: str
    """What each point stands for, where it is more than one value."""


@dataclass(frozen=True)
class Chart:
    """What the template needs to draw one quantity over one training."""

    training: str
    title: str
    """The quantity with its unit."""
    x: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    kept: float | None
    """Where the kept checkpoint stands, in percent of the width."""


FEW = 40  # points that are drawn as dots
SHARES = ("accuracy", "reward accuracy")  # from 0 to 1, whatever was measured


def chart(curve: dict[str, Any]) -> Chart:
    """A chart of one curve of `curves.py`; 0 always stands on it."""
    points = [point for line in curve["lines"] for point in line["points"]]
    right = max(x for x, *_ in points)
    bottom, top, step = _range(curve["quantity"], points)

    def place(x: float, y: float) -> str:
        return f"{100 * x / right:.2f} {height(y):.2f}"

    def height(y: float) -> float:
        return 100 * (top - y) / (top - bottom)

    lines = []
    for line in curve["lines"]:
        own = line["points"]
        middle = [place(x, mean) for x, mean, _, _ in own]
        edge = [place(x, low) for x, _, low, _ in own] + [place(x, high) for x, _, _, high in reversed(own)]
        name = {"train": "training"}.get(line["name"], line["name"])
        thinned = line["measured"] > len(own)
        lines.append(
            Line(
                name=name,
                path="M" + "L".join(middle),
                band="M" + "L".join(edge) + "Z" if thinned else "",
                dots="".join(f"M{at}h0" for at in middle) if len(own) <= FEW else "",
                note=f"{line['measured']:,} {name} values in {len(own)} points" if thinned else "",
            )
        )
    return Chart(
        training=curve["training"],
        title=_title(curve),
        x=curve["x"],
        lines=lines,
        x_ticks=[(100 * x / right, short(x)) for x in _steps(0, right, _nice_step(right))],
        y_ticks=[(height(y), _tick(y, curve["quantity"])) for y in _steps(bottom, top, step)],
        kept=None if curve["kept"] is None else 100 * curve["kept"] / right,
    )


def _title(curve: dict[str, Any]) -> str:
    quantity = curve["quantity"].capitalize()
    if curve["quantity"] == "loss":
        return f"{quantity}, {UNITS.get(curve['training'], 'nats per token')}"
    return quantity


def _tick(y: float, quantity: str) -> str:
    return f"{y:.0%}" if quantity in SHARES else f"{y:g}".replace("-", "−")


def _range(quantity: str, points: list[list[float]]) -> tuple[float, float, float]:
    """Lowest and highest value of the plot, both round, and the step between ticks."""
    if quantity in SHARES:
        return 0.0, 1.0, 0.25
    low, high = min(0.0, *(low for *_, low, _ in points)), max(0.0, *(high for *_, high in points))
    step = _nice_step(high - low)
    bottom, top = step * math.floor(low / step), step * math.ceil(high / step)
    return bottom, top if top > bottom else bottom + step, step


def _nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, of which three to six reach over `span`."""
    power = 10.0 ** math.floor(math.log10(span / 6)) if span > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= span)


def _steps(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` from `low`, itself one, up to `high`."""
    first = round(low / step)
    return [float(f"{step * (first + n):.12g}") for n in range(math.floor((high - low) / step * 1.0001) + 1)]
