"""The geometry of the card's charts, in percent of their plot area; the template draws it.

Percentages let the page stretch a plot to any width while its words keep their size, and leave the colours
to the style sheet, which knows light from dark.
"""

import math
from dataclasses import dataclass
from typing import Any

from tasks.report.wording import short

Tick = tuple[float, str]
"""Position in percent, and label."""


@dataclass(frozen=True)
class Line:
    """One loss curve: SVG path data on a field of 100 by 100, y downwards."""

    name: str
    path: str
    band: str
    """From the lowest to the highest of the losses behind each point; empty when each is one loss."""
    dots: str
    """Every point as a line of no length, which a round line cap makes a dot; empty for many points."""


@dataclass(frozen=True)
class LossChart:
    """What the template needs to draw one chart of losses."""

    unit: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    kept: float | None
    """Where the kept checkpoint stands, in percent of the width."""


FEW = 40  # points that are drawn as dots


def loss_chart(curve: dict[str, Any]) -> LossChart | None:
    """A chart of one training's curves; None when nothing was measured."""
    points = [point for line in curve["lines"] for point in line["points"]]
    if not points:
        return None
    right = max(x for x, *_ in points)
    step = _nice_step(max(high for *_, high in points))
    top = step * math.ceil(max(high for *_, high in points) / step)

    def place(x: float, y: float) -> str:
        return f"{100 * x / right:.2f} {100 - 100 * y / top:.2f}"

    lines = []
    for line in curve["lines"]:
        own = line["points"]
        middle = [place(x, mean) for x, mean, _, _ in own]
        edge = [place(x, low) for x, _, low, _ in own] + [place(x, high) for x, _, _, high in reversed(own)]
        lines.append(
            Line(
                name={"train": "training"}.get(line["name"], line["name"]),
                path="M" + "L".join(middle),
                band="M" + "L".join(edge) + "Z" if line["measured"] > len(own) else "",
                dots="".join(f"M{at}h0" for at in middle) if len(own) <= FEW else "",
            )
        )
    return LossChart(
        unit=curve["x"],
        lines=lines,
        x_ticks=[(100 * x / right, short(x)) for x in _steps_up_to(right, _nice_step(right))],
        y_ticks=[(100 - 100 * y / top, f"{y:g}") for y in _steps_up_to(top, step)],
        kept=None if curve["kept"] is None else 100 * curve["kept"] / right,
    )


def _nice_step(largest: float) -> float:
    """1, 2 or 5 times a power of ten, of which three to six reach `largest`."""
    power = 10.0 ** math.floor(math.log10(largest / 6)) if largest > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= largest)


def _steps_up_to(largest: float, step: float) -> list[float]:
    return [float(f"{step * index:.12g}") for index in range(math.floor(largest / step * 1.0001) + 1)]
