"""What a list of scores can be said to show: the mean with its interval, and what missing rows allow.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
section 13.3): rows are drawn with replacement, and the 2.5th and 97.5th percentiles of the resampled means
are taken. Scores are 0 to 100; None is a missing one. Intervals of shares are Wilson's.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

TOP = 100.0
BINS = 10
PERCENTILES = (2.5, 97.5)
Z = NormalDist().inv_cdf(0.975)  # standard errors to either side of a 95% interval
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
    means = [sample[rows].mean(axis=1) for rows in _resampled_rows(sample.size, resamples, seed)]
    return _percentiles(float(sample.mean()), np.concatenate(means))


def perplexity_interval(
    losses: Sequence[float], tokens: Sequence[int], resamples: int, seed: int
) -> tuple[float, float, float]:
    """Perplexity over all tokens and its 95% interval, as (perplexity, low, high); rows are resampled.

    `losses` are each row's mean in nats over its `tokens`. A long row weighs more: the mean of the rows'
    perplexities would be that of its worst one.

    Raises ValueError when there are no rows.
    """
    weights = np.asarray(tokens, dtype=np.float64)
    sums = np.asarray(losses, dtype=np.float64) * weights
    if sums.size == 0:
        raise ValueError("a perplexity needs at least one row")
    means = [
        sums[rows].sum(axis=1) / weights[rows].sum(axis=1)
        for rows in _resampled_rows(sums.size, resamples, seed)
    ]
    perplexity, low, high = np.exp(_percentiles(float(sums.sum() / weights.sum()), np.concatenate(means)))
    return float(perplexity), float(low), float(high)


def _resampled_rows(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Rows drawn with replacement, in pieces of shape (some of the resamples, count)."""
    generator = np.random.default_rng(seed)
    chunk = max(1, DRAWS_AT_ONCE // count)
    for start in range(0, resamples, chunk):
        yield generator.integers(0, count, size=(min(chunk, resamples - start), count))


def _percentiles(value: float, resampled: np.ndarray) -> tuple[float, float, float]:
    low, high = np.percentile(resampled, PERCENTILES)
    return value, min(float(low), value), max(float(high), value)


def wilson_interval(count: int, of: int) -> tuple[float, float]:
    """95% score interval of the share `count / of`, as fractions (Wilson, 1927).

    Unlike the share plus and minus its error, it has a width where none or all were counted.

    Raises ValueError for a share of nothing.
    """
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"a share is of at least one row, and of no more than all; found {count} of {of}")
    share, weight = count / of, Z**2 / of
    middle = (share + weight / 2) / (1 + weight)
    half = Z * (share * (1 - share) / of + weight / (4 * of)) ** 0.5 / (1 + weight)
    return (0.0 if count == 0 else middle - half), (1.0 if count == of else middle + half)


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
