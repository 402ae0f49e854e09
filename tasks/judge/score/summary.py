"""What one scorer's list of scores comes to: the mean with its interval, and what missing rows allow.

Scores are 0 to 100; None is a missing one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tasks.judge.protocol.scoring_protocols import TOP
from tasks.judge.score.outputs import ScoreEntry, Status
from tasks.statistics.bounded import mean_interval
from tasks.statistics.intervals import Sources
from tasks.statistics.ranking import spearman, spearman_interval

BINS = 10


def worst_case_bounds(scores: Sequence[float | None]) -> tuple[float, float]:
    """The mean if every missing score were 0, and if every one were 100."""
    total = sum(score for score in scores if score is not None)
    missing = sum(score is None for score in scores)
    return total / len(scores), (total + TOP * missing) / len(scores)


def too_many_missing(scores: Sequence[float | None], max_missing: float) -> bool:
    """Whether what is missing forbids a mean: over `max_missing` of the rows, or all of them."""
    missing = sum(score is None for score in scores)
    return missing == len(scores) or missing / len(scores) > max_missing


def summarise(
    scorer: str,
    kind: Literal["metric", "judge"],
    scores: Sequence[float | None],
    *,
    max_missing: float,
    sources: Sources = (),
    believed: bool = True,
    missing_because: Sequence[Mapping[str, Any]] = (),
    beside: Mapping[str, Sequence[float | None]] | None = None,
) -> ScoreEntry:
    """One scorer's numbers over at least one row.

    With too many missing there is neither a mean nor a median: they would be those of the easy rows. Nor is
    there one of a judge that is not `believed`. `beside` are other numbers of the same rows, whose rank
    correlations with the scores are told.
    """
    present = [score for score in scores if score is not None]
    status: Status = "ok" if believed else "judge_failed_audit"
    if believed and too_many_missing(scores, max_missing):
        status = "too_many_missing"
    mean = low = high = None
    if status == "ok":
        scored = [place for place, score in enumerate(scores) if score is not None]
        mean, low, high = mean_interval(
            present, 0.0, TOP, [sources[place] for place in scored] if sources else ()
        )
    lowest, highest = worst_case_bounds(scores)
    return {
        "scorer": scorer,
        "kind": kind,
        "status": status,
        "mean": mean,
        "low": low,
        "high": high,
        "median": float(np.median(present)) if status == "ok" else None,
        "rows": len(scores),
        "scored": len(present),
        "missing": len(scores) - len(present),
        "missing_because": list(missing_because),
        "lowest_possible": lowest,
        "highest_possible": highest,
        "histogram": np.histogram(present, bins=BINS, range=(0.0, TOP))[0].tolist(),
        "correlations": {name: correlation(scores, values) for name, values in (beside or {}).items()},
    }


def correlation(a: Sequence[float | None], b: Sequence[float | None]) -> dict[str, float | int | None]:
    """Spearman's rank correlation over the rows that have both, with its 95% interval; None where unknown."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    ours, theirs = zip(*both, strict=True) if both else ((), ())
    value = spearman(ours, theirs)
    interval = None if value is None else spearman_interval(value, len(both))
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high, "rows": len(both)}


def category_means(
    categories: Sequence[str | None], scores: Sequence[float | None], max_missing: float
) -> dict[str, dict[str, Any]]:
    """Per category, in order of name: mean (None when too many are missing), rows, scored."""
    by_category: dict[str, list[float | None]] = {}
    for name, score in zip(categories, scores, strict=True):
        if name is not None:
            by_category.setdefault(name, []).append(score)
    means = {}
    for category, own in sorted(by_category.items()):
        present = [score for score in own if score is not None]
        mean = None if too_many_missing(own, max_missing) else float(np.mean(present))
        means[category] = {"mean": mean, "rows": len(own), "scored": len(present)}
    return means
