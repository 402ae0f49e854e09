"""By which score a promotion decides where a judge scores by criteria, and which of them need people."""

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.config import on
from tasks.errors import StageError

Json = Mapping[str, Any]


def deciding_scorer(summary: Json, criterion: str | None) -> str:
    """Of `scores.json`: the headline, whose scores are the overall ones, or the headline on one criterion.

    Raises StageError when the scores are on other criteria.
    """
    scorer = on(summary["headline"], criterion)
    if all(entry["scorer"] != scorer for entry in summary["scores"]):
        known = ", ".join(summary.get("criteria", {})) or "none"
        raise StageError(
            f"promote.criterion is {criterion}, and the scores are on these criteria: {known}. Judge by it "
            "(judge.criteria), or leave promote.criterion out"
        )
    return scorer


def needing_labels(judges: Iterable[Json]) -> tuple[str, ...]:
    """The criteria that no audit can show a judge to be wrong about: people must say whether it is right."""
    names = (judge["criterion"] for judge in judges if judge["audit"] and not judge["audit"]["falsifiable"])
    return tuple(dict.fromkeys(names))
