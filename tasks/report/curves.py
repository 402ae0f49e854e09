"""Loss curves for the card: few enough points to send and draw, and no spike lost."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

LIMIT = 300  # points of one line

Point = tuple[float, float]


def curve(history: Sequence[dict[str, Any]], x: str, summary: dict[str, Any]) -> dict[str, Any]:
    """Training and validation loss over `x` (a field of the history), and where the kept checkpoint stands.

    A line that was never measured is left out, as validation is without a validation split.
    """
    best = summary.get("best_step")
    lines = []
    for name in ("train", "validation"):
        points = [(entry[x], entry[f"{name}_loss"]) for entry in history if f"{name}_loss" in entry]
        if points:
            lines.append({"name": name, "measured": len(points), "points": thin(points, LIMIT)})
    kept = next((entry[x] for entry in history if entry["step"] == best), None)
    return {"x": "tokens" if x == "tokens" else "steps", "kept": kept, "lines": lines}


def thin(points: Sequence[Point], limit: int) -> list[list[float]]:
    """At most `limit` of [x, mean, lowest, highest], each of a run of neighbours, x being the run's last.

    Dropping points instead would hide a spike, or show one and make it the rule.
    """
    count = min(limit, len(points))
    borders = [len(points) * index // count for index in range(count + 1)]
    runs = [points[start:end] for start, end in pairwise(borders)]
    return [_summary_of([y for _, y in run], run[-1][0]) for run in runs]


def _summary_of(losses: list[float], x: float) -> list[float]:
    values = sum(losses) / len(losses), min(losses), max(losses)
    return [x, *(float(f"{value:.6g}") for value in values)]
