"""The words on a promotion: the same on the card and on the model version in MLflow."""

import math
from collections.abc import Mapping
from typing import Any

from tasks.show.text import signed
from tasks.statistics.spending import BUDGET, left_after


def coverage_text(level: float) -> str:
    """`99.26%`: how often an interval covers what it is of, whose ends are each at that one-sided level."""
    missed = 200 * level
    return f"{round(100 - missed, 1 - math.floor(math.log10(missed))):.10g}%"


def budget_text(openings: int) -> str:
    """`opened 3 times, which leaves 2.04% of the error budget of 5%`."""
    times = {0: "never opened", 1: "opened once"}.get(openings, f"opened {openings} times")
    return f"{times}, which leaves {100 * left_after(openings):.2f}% of the error budget of {100 * BUDGET:g}%"


def decision_rows(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was decided on, as pairs of label and value; what was not decided on is left out."""
    known = {name: value for name, value in decision.items() if value is not None}
    rows = []
    if "sealed_mean" in known:
        rows.append(("Score", f"{known['sealed_mean']:.1f} of 100 by {known['scorer']} on the sealed rows"))
        rows.append(("Its interval", f"{known['sealed_low']:.1f} to {known['sealed_high']:.1f} (95%)"))
        rows.append(("Whole test split", f"{known['mean']:.1f}, the gate rows included"))
    elif "mean" in known:
        whole = ", the whole test split" if known.get("part") == "gate" else ""
        rows.append(("Score", f"{known['mean']:.1f} of 100 by {known['scorer']}{whole}"))
    elif "scorer" in known:
        rows.append(("Score", f"none by {known['scorer']}"))
    if "against" in known:
        rows.append(("Compared with", f"{known['against']}, the champion then"))
        if "anew" in known:
            rows.append(("Champion scored anew", f"because {known['anew']}"))
        if known.get("leaked"):
            rows.append(("Left out", f"{known['leaked']} test rows that one of the two was trained on"))
    elif "min_score" in known:
        rows.append(("Compared with", f"no champion: a first one needs {known['min_score']:g}"))
    if "difference" in known:
        rows_met = f"the same {known['part_rows']} {known['part']} rows"
        low, high = signed(known["low"]), signed(known["high"])
        rows.append(("Difference", f"{signed(known['difference'])} points on {rows_met}"))
        rows.append((f"{coverage_text(known['level'])} interval", f"{low} to {high}"))
    if "margin" in known and "against" in known:
        rows.append(("Margin", f"the interval must lie above {known['margin']:g}"))
    if "openings" in known:
        name = "Test rows" if known.get("part") == "test" else "Sealed rows"
        rows.append((name, budget_text(known["openings"])))
    return rows + [
        (name.capitalize(), known[name]) for name in ("preflight", "audit", "labels") if name in known
    ]


def checked_text(decision: Mapping[str, Any]) -> str:
    """What a reason leaves out: `score 75.0 of 100 by metric:chrf; preflight passed; audit passed`."""
    names = ["Score", "Preflight", "Audit"]
    names += ["Sealed rows", "Test rows"] if decision["against"] is None else []
    told = (pair for pair in decision_rows(decision) if pair[0] in names)
    return "; ".join(f"{name.lower()} {value}" for name, value in told)


def in_short(decision: Mapping[str, Any]) -> str:
    """`+11.0 points against version 1`, or the mean; without scores that count the reason."""
    if decision.get("difference") is not None:
        return f"{signed(decision['difference'])} points against {decision['against']}"
    if decision.get("sealed_mean") is not None:
        return f"mean {decision['sealed_mean']:.1f} of 100 on the sealed rows"
    if decision.get("mean") is not None:
        return f"mean {decision['mean']:.1f} of 100"
    return decision["reason"]
