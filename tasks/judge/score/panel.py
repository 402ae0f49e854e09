"""Several judges of the same rows: their mean, and how far they agree."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tasks.judge.protocol.scoring_protocols import TOP
from tasks.statistics.agreement import krippendorff_alpha, quadratic_kappa
from tasks.statistics.bounded import bounded_interval
from tasks.statistics.intervals import Sources
from tasks.statistics.ranking import spearman

APART = 40.0  # points between the judges' scores of a row from which it is named

Scores = Sequence[float | None]


def panel_scores(scores: Mapping[str, Scores]) -> list[float | None]:
    """The mean of the judges' scores of each row; missing where one of them is.

    The mean of those that remain would be that of whichever judges did not stumble on the row.
    """
    return [
        None if any(score is None for score in row) else float(np.mean(row))
        for row in zip(*scores.values(), strict=True)
    ]


def agreement(scores: Mapping[str, Scores], ids: Sequence[int], sources: Sources = ()) -> dict[str, Any]:
    """How far the judges agree: Krippendorff's alpha over all of them, and each pair of them.

    `disagreement` is the spread between the highest and the lowest score of a row, in points, as a mean with
    its 95% interval; `apart` are the ids of the rows whose scores are 40 points or more apart, the widest
    first.
    """
    of = dict(zip(ids, sources, strict=True)) if sources else {}
    spreads = {
        row: max(given) - min(given)
        for row, own in zip(ids, zip(*scores.values(), strict=True), strict=True)
        if len(given := [score for score in own if score is not None]) == len(own)
    }
    mean, low, high = (
        bounded_interval(list(spreads.values()), 0.0, TOP, [of.get(row) for row in spreads])
        if spreads
        else (None,) * 3
    )
    wide = sorted((row for row in spreads if spreads[row] >= APART), key=lambda row: (-spreads[row], row))
    return {
        "judges": list(scores),
        "rows": len(spreads),
        "alpha": krippendorff_alpha(list(scores.values()), "interval"),
        "disagreement": {"mean": mean, "low": low, "high": high},
        "apart": wide,
        "pairs": [_pair(a, b, scores[a], scores[b]) for a, b in combinations(scores, 2)],
    }


def _pair(first: str, second: str, a: Scores, b: Scores) -> dict[str, Any]:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    ours, theirs = zip(*both, strict=True) if both else ((), ())
    return {
        "a": first,
        "b": second,
        "rows": len(both),
        "spearman": spearman(ours, theirs),
        "kappa": quadratic_kappa(a, b),
        "difference": float(np.mean(np.subtract(ours, theirs))) if both else None,
    }
