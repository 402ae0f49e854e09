"""How far raters of the same units agree, beyond what chance alone would give.

Both coefficients are 1 when they agree throughout, and 0 when no more than ratings dealt out at random.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tasks.statistics.ranking import average_ranks

Rating = float | str
Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: Sequence[Sequence[Rating | None]], level: Level) -> float | None:
    """Krippendorff's alpha, at most 1, of `ratings` of shape (raters, units); None is a missing rating.

    `level` says what it is for two ratings to differ: "nominal" counts only that they do (labels may be
    text), "ordinal" how many ranks lie between them, "interval" by how much. Units with one rating or none
    take no part (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011).

    None where nothing can be compared: no unit was rated twice, or all ratings that take part are equal, so
    that agreeing says nothing.

    Raises ValueError when raters are not of the same units, or a rating that must be a number is not one.
    """
    if len({len(rater) for rater in ratings}) > 1:
        found = sorted({len(rater) for rater in ratings})
        raise ValueError(f"every rater needs an entry for every unit, None if missing; found {found} units")
    given = [[rating for rating in unit if rating is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in given if len(unit) >= 2]
    pooled = [rating for unit in units for rating in unit]
    if len(set(pooled)) < 2:
        return None
    if level != "nominal":
        pooled = _scale(pooled, level)
    disagreement = _disagreement(pooled, level) / (len(pooled) - 1)
    observed, start = 0.0, 0
    for unit in units:
        own = pooled[start : start + len(unit)]
        observed += _disagreement(own, level) / (len(unit) - 1)
        start += len(unit)
    return 1.0 - observed / disagreement


def _scale(ratings: Sequence[Rating], level: Level) -> list[float]:
    """`ratings` as numbers whose squared difference is how much two of them differ.

    Of ordinal ones these are the average ranks: two values are as many ranks apart as there are ratings
    between them, and half of those at either end, which is Krippendorff's ordinal metric.
    """
    numbers = [float(rating) for rating in ratings]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"ratings of level {level} are finite numbers")
    return average_ranks(numbers).tolist() if level == "ordinal" else numbers


def _disagreement(ratings: Sequence[Rating], level: Level) -> float:
    """Squared differences summed over all unordered pairs of `ratings`, without going through the pairs."""
    if level == "nominal":
        return (len(ratings) ** 2 - sum(count**2 for count in Counter(ratings).values())) / 2
    numbers = np.asarray(ratings, dtype=np.float64)
    return float(len(numbers) * np.square(numbers - numbers.mean()).sum())


def quadratic_kappa(a: Sequence[float | None], b: Sequence[float | None]) -> float | None:
    """Cohen's weighted kappa, -1 to 1, of two raters, a disagreement weighing as the squared difference.

    Rows that one of the two left out (None) take no part (Cohen, Weighted Kappa, 1968). The weights are of
    the numbers themselves: ratings of 0, 50 and 100 weigh as 1, 2 and 3 do. None without a row that both
    rated, or when both gave the one same rating throughout.

    Raises ValueError when the two are not of the same length, or a rating is not finite.
    """
    if len(a) != len(b):
        raise ValueError(f"agreement is over the same rows; found {len(a)} and {len(b)}")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    rated = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(rated).all():
        raise ValueError("ratings are finite numbers")
    if rated.size == 0 or rated.min() == rated.max():
        return None
    first, second = rated.T
    observed = np.square(first - second).mean()
    expected = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    return float(1.0 - observed / expected)
