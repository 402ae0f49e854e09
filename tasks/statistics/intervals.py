"""Intervals of 95% by resampling, and around shares.

Those by resampling are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, section 13.3): rows are drawn with replacement, and the 2.5th and 97.5th percentiles of the
resampled means are taken. They are too narrow where there are few rows, and of no width where those are
equal: what decides or is shown of a model is in bounded.py. Those of shares are Wilson's.

Rows of one source (turns of one conversation, questions about one passage) count together: what makes one
of them hard makes the others hard, so that as many rows of few sources tell less (Field and Welsh,
Bootstrapping Clustered Data, 2007). `sources` names the source of each row; None, or no sources at all, is a
row of its own.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

PERCENTILES = (2.5, 97.5)
Z = NormalDist().inv_cdf(0.975)  # standard errors to either side of a 95% interval
DRAWS_AT_ONCE = 2_000_000  # indices of 8 bytes held in memory while resampling

Sources = Sequence[str | None]


def by_source(values: np.ndarray, sources: Sources) -> tuple[np.ndarray, np.ndarray | None]:
    """The sums of `values` (rows,) by source, and how many rows each has; None where each has one.

    Raises ValueError when there are sources, and not one a row.
    """
    if not any(sources):
        return values, None
    if len(sources) != len(values):
        raise ValueError(f"there are {len(sources)} sources of {len(values)} values")
    numbers: dict[str | int, int] = {}
    places = [
        numbers.setdefault(place if source is None else source, len(numbers))
        for place, source in enumerate(sources)
    ]
    if len(numbers) == len(values):
        return values, None
    return np.bincount(places, values), np.bincount(places).astype(np.float64)


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
    drawn = [sample[rows].mean(axis=1) for rows in _resampled_rows(sample.size, resamples, seed)]
    return _percentiles(float(sample.mean()), np.concatenate(drawn))


def cautious_interval(
    values: Sequence[float], worst: float, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Mean of `values` and its 95% bootstrap interval, stretched towards `worst`, as (mean, low, high).

    The end towards `worst` is that of the same values with one more added that is `worst`, or the plain
    interval's where that lies further out. A handful of equal values has a bootstrap interval of no width,
    which would seem to show anything; with n of them this end lies 3 / (n + 1) of the way to `worst`, which
    is what the rule of three does for shares (Hanley and Lippman-Hand, If Nothing Goes Wrong, Is Everything
    All Right?, 1983).

    Raises ValueError when there are no values, when one is not finite, and when `worst` lies among them, so
    that it is no end.
    """
    mean, low, high = bootstrap_interval(values, resamples, seed)
    smallest, largest = min(values), max(values)
    if not (worst <= smallest or worst >= largest):
        raise ValueError(f"the worst value must be at an end of those from {smallest} to {largest}: {worst}")
    _, padded_low, padded_high = bootstrap_interval([*values, worst], resamples, seed)
    if worst <= smallest:
        return mean, min(low, padded_low), high
    return mean, low, max(high, padded_high)


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


def share_of(count: int, of: int) -> dict[str, float | int | None]:
    """A share with its 95% interval, as fractions, as it stands in outputs; of nothing there is none."""
    low, high = wilson_interval(count, of) if of else (None, None)
    return {"count": count, "of": of, "share": count / of if of else None, "low": low, "high": high}
