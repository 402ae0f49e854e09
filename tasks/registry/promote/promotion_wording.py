"""The words on a promotion: the same on the card and on the model version in MLflow."""

from collections.abc import Mapping
from typing import Any

from tasks.show.text import signed


def decision_rows(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was decided on, as pairs of label and value; cards of earlier versions say less."""
    known = {name: value for name, value in decision.items() if value is not None}
    rows = []
    if "mean" in known:
        rows.append(("Score", f"{known['mean']:.1f} of 100 by {known['scorer']}"))
    elif "scorer" in known:
        rows.append(("Score", f"none by {known['scorer']}"))
    if "against" in known:
        rows.append(("Compared with", f"{known['against']}, the champion then"))
    elif "min_score" in known:
        rows.append(("Compared with", f"no champion: a first one needs {known['min_score']:g}"))
    if "difference" in known:
        rows.append(("Difference", f"{signed(known['difference'])} points on the same rows"))
        rows.append(("95% interval", f"{signed(known['low'])} to {signed(known['high'])}"))
    if "margin" in known and "against" in known:
        rows.append(("Margin", f"the interval must lie above {known['margin']:g}"))
    return rows + [(name.capitalize(), known[name]) for name in ("preflight", "audit") if name in known]


def checked_text(decision: Mapping[str, Any]) -> str:
    """What a reason leaves out: `score 75.0 of 100 by metric:chrf; preflight passed; audit passed`."""
    told = (pair for pair in decision_rows(decision) if pair[0] in ("Score", "Preflight", "Audit"))
    return "; ".join(f"{name.lower()} {value}" for name, value in told)


def in_short(decision: Mapping[str, Any]) -> str:
    """`+11.0 points against version 1`, or the mean; of a card of an earlier version its reason."""
    if decision.get("difference") is not None:
        return f"{signed(decision['difference'])} points against {decision['against']}"
    if decision.get("mean") is not None:
        return f"mean {decision['mean']:.1f} of 100"
    return decision["reason"]
