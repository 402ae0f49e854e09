"""The geometry of charts and the small pictures of text: a scale from 0 to 100, bars in a line.

Charts are in percent of their plot area: the page stretches a plot to any width while its words keep their
size, and leaves the colours to the style sheet, which knows light from dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.show.document import Chart, Curve, Hue, Interval
from tasks.show.text import short

Tick = tuple[float, str]
"""Position in percent, and label."""

FEW = 40  # points that are drawn as dots
SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Line:
    """One curve: SVG path data on a field of 100 by 100, y downwards."""

    name: str
    hue: Hue
    path: str
    """Empty where the points are not joined."""
    band: str
    """From the lowest to the highest of the values behind each point; empty when each is one value."""
    dots: str
    """Every point as a line of no length, which a round line cap makes a dot; empty for many points."""
    note: str
    """What each point stands for, where it is more than one value."""


@dataclass(frozen=True)
class Plot:
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    kept: float | None
    """Where the kept checkpoint stands, in percent of the width."""


def plot_of(chart: Chart) -> Plot:
    """A chart of one point or more."""
    points = [point for curve in chart.curves for point in curve.points]
    left, right = 0.0, max(x for x, *_ in points) or 1.0
    if chart.x_ticks:
        left, right = chart.x_ticks[0][0], chart.x_ticks[-1][0]
    bottom, top, step = _range(points, is_share=chart.is_share, from_zero=chart.from_zero)
    if chart.y_ticks:
        bottom, top = chart.y_ticks[0][0], chart.y_ticks[-1][0]

    def across(x: float) -> float:
        return 100 * (x - left) / (right - left or 1.0)

    def height(y: float) -> float:
        return 100 * (top - y) / (top - bottom)

    def line(curve: Curve) -> Line:
        def place(x: float, y: float) -> str:
            return f"{across(x):.2f} {height(y):.2f}"

        middle = [place(x, mean) for x, mean, _, _ in curve.points]
        edge = [place(x, low) for x, _, low, _ in curve.points]
        edge += [place(x, high) for x, _, _, high in reversed(curve.points)]
        is_thinned = curve.measured > len(curve.points)
        return Line(
            name=curve.name,
            hue=curve.hue,
            path="M" + "L".join(middle) if curve.is_joined else "",
            band="M" + "L".join(edge) + "Z" if is_thinned else "",
            dots="".join(f"M{at}h0" for at in middle)
            if len(curve.points) <= FEW or not curve.is_joined
            else "",
            note=f"{curve.measured:,} {curve.name} values in {len(curve.points)} points"
            if is_thinned
            else "",
        )

    return Plot(
        lines=[line(curve) for curve in chart.curves if curve.points],
        x_ticks=[(across(x), label) for x, label in chart.x_ticks]
        or [(across(x), short(x)) for x in _steps(0, right, _nice_step(right))],
        y_ticks=[(height(y), label) for y, label in chart.y_ticks]
        or [(height(y), _tick(y, is_share=chart.is_share)) for y in _steps(bottom, top, step)],
        kept=None if chart.kept is None else across(chart.kept),
    )


def _tick(y: float, *, is_share: bool) -> str:
    return f"{y:.0%}" if is_share else f"{y:g}".replace("-", "−")


def _range(
    points: Sequence[Sequence[float]], *, is_share: bool, from_zero: bool
) -> tuple[float, float, float]:
    """Lowest and highest value of the plot, both round, and the step between ticks."""
    if is_share:
        return 0.0, 1.0, 0.25
    also = [0.0] if from_zero else []
    low, high = min([*also, *(low for *_, low, _ in points)]), max([*also, *(high for *_, high in points)])
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


def track(row: Interval, width: int) -> str:
    """The interval and the points of a row on a line of characters from 0 to 100."""

    def at(value: float) -> int:
        return round(min(max(value, 0.0), 100.0) / 100 * (width - 1))

    cells = ["·"] * width
    spans = [(row.possible, "░")] if row.possible else []
    if row.low is not None and row.high is not None:
        spans.append(((row.low, row.high), "─"))
    for (low, high), mark in spans:
        for place in range(at(low), at(high) + 1):
            cells[place] = mark
    for point in row.points:
        cells[at(point.at)] = "●"
    return "".join(cells)


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` in at most `width` characters, each the mean of a run of neighbours; 0 is the base line."""
    count = min(width, len(values))
    borders = [len(values) * index // count for index in range(count + 1)] if count else []
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(borders)]
    top = max(means, default=0.0) or 1.0
    return "".join(SPARKS[round(max(mean, 0.0) / top * (len(SPARKS) - 1))] for mean in means)


def histogram_text(counts: Sequence[int]) -> str:
    """A bar a part of the scale; one without rows is a dot, so that few are told from none."""
    most = max(counts, default=0) or 1
    return "".join(SPARKS[-(-count * (len(SPARKS) - 1) // most)] if count else "·" for count in counts)


def curve_text(curve: Curve, width: int, *, is_share: bool) -> tuple[str, str]:
    """A curve in a line of characters, and where it began and ended."""
    means = [mean for _, mean, _, _ in curve.points]
    first, last = (f"{value:.1%}" if is_share else f"{value:.3f}" for value in (means[0], means[-1]))
    ends = f"{first} to {last}" if len(means) > 1 else last
    return sparkline(means, width), ends.replace("-", "−")
