"""Loss curves as pictures."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

Point = tuple[float, float]


def draw_losses(
    path: Path,
    title: str,
    x_label: str,
    curves: dict[str, Sequence[Point]],
    also: tuple[str, float] | None = None,
) -> None:
    """One line for each of `curves` (points of x and loss in nats per token), as a PNG at `path`.

    `also` is a second unit for x, drawn above: its name, and how many of the first make one of it.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        if points:
            style = {"marker": "o", "markersize": 4} if len(points) < 50 else {"alpha": 0.7, "linewidth": 1}
            axes.plot([x for x, _ in points], [y for _, y in points], label=name, **style)
    axes.set(title=title, xlabel=x_label, ylabel="loss (nats per token)")
    if also:
        name, each = also
        above = axes.secondary_xaxis("top", functions=(lambda x: x / each, lambda x: x * each))
        above.set_xlabel(name)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
