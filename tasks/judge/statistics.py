"""What a list of scores can be said to show: the mean with its interval, and what missing rows allow.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
section 13.3): rows are drawn with replacement, and the 2.5th and 97.5th percentiles of the resampled means
are taken. Scores are 0 to 100; None is a missing one.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

TOP = 100.0
BINS = 10
PERCENTILES = (2.5, 97.5)
DRAWS_AT_ONCE = 2_000_000  # indices of 8 bytes held in memory while resampling


def bootstrap_interval(values: Sequence[float], resamples: int, seed: int) -> tuple[float, float, float]:
    """Mean of `values` and its 95% percentile bootstrap interval, as (mean, low, high).

    The interval always holds the mean, which a handful of resamples alone would not promise.

    Raises ValueError when there are no values or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"a bootstrap needs at least one value, all of them finite; found {sample.size}")
    smallest, largest = float(sample.min()), float(sample.max())
    if smallest == largest:  # exactly, where a rounded mean might differ in its last bit
        return smallest, smallest, smallest
    mean = float(sample.mean())
    low, high = np.percentile(_resampled_means(sample, resamples, seed), PERCENTILES)
    return mean, min(float(low), mean), max(float(high), mean)


def _resampled_means(sample: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws with replacement, shape (resamples,)."""
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    chunk = max(1, DRAWS_AT_ONCE // sample.size)
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        rows = generator.integers(0, sample.size, size=(count, sample.size))
        means[start : start + count] = sample[rows].mean(axis=1)
    return means


def paired_interval(
    a: Sequence[float], b: Sequence[float], resamples: int, seed: int
) -> tuple[float, float, float]:
    """Mean of `a - b` over the same rows and its 95% interval, as (difference, low, high).

    Positive means that `a` is better. Rows are resampled as pairs, so that what makes a row hard for both
    takes no part in the interval (Koehn, Statistical Significance Tests for Machine Translation Evaluation,
    2004).

    Raises ValueError when the two are not of the same length, or empty.
    """
    if len(a) != len(b):
        raise ValueError(f"paired scores are of the same rows; found {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return bootstrap_interval(differences, resamples, seed)


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
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """One scorer's numbers over at least one row, as they stand in `scores.json`.

    With too many missing there is neither a mean nor a median: they would be those of the easy rows.
    """
    present = [score for score in scores if score is not None]
    refused = too_many_missing(scores, max_missing)
    mean, low, high = (None,) * 3 if refused else bootstrap_interval(present, resamples, seed)
    lowest, highest = worst_case_bounds(scores)
    return {
        "scorer": scorer,
        "kind": kind,
        "status": "too_many_missing" if refused else "ok",
        "mean": mean,
        "low": low,
        "high": high,
        "median": None if refused else float(np.median(present)),
        "rows": len(scores),
        "scored": len(present),
        "missing": len(scores) - len(present),
        "lowest_possible": lowest,
        "highest_possible": highest,
        "histogram": np.histogram(present, bins=BINS, range=(0.0, TOP))[0].tolist(),
    }


def category_means(
    categories: Sequence[str | None], scores: Sequence[float | None], max_missing: float
) -> dict[str, dict[str, Any]]:
    """Per category, in order of name: mean (None when too many are missing), rows, scored."""
    means = {}
    for category in sorted({name for name in categories if name is not None}):
        own = [score for name, score in zip(categories, scores, strict=True) if name == category]
        present = [score for score in own if score is not None]
        mean = None if too_many_missing(own, max_missing) else float(np.mean(present))
        means[category] = {"mean": mean, "rows": len(own), "scored": len(present)}
    return means
