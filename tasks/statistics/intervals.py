"""Intervals of 95% around means, perplexities and shares.

Those of means are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, section 13.3): rows are drawn with replacement, and the 2.5th and 97.5th percentiles of the resampled
means are taken. Of more than MANY rows these percentiles are worked out instead of drawn, by a saddlepoint
approximation (Davison and Hinkley, Saddlepoint Approximations in Resampling Methods, 1988), which is then
nearer to what infinitely many resamples would give than ten thousand are; unless a single row weighs so much
that it is not. Those of shares are Wilson's.

Rows of one source (turns of one conversation, questions about one passage) are drawn together: what makes
one of them hard makes the others hard, so that as many rows of few sources tell less (the cluster bootstrap;
Field and Welsh, Bootstrapping Clustered Data, 2007). `sources` names the source of each row; None, or no
sources at all, is a row of its own.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

PERCENTILES = (2.5, 97.5)
Z = NormalDist().inv_cdf(0.975)  # standard errors to either side of a 95% interval
DRAWS_AT_ONCE = 2_000_000  # indices of 8 bytes held in memory while resampling
MANY = 10_000  # rows, beyond which percentiles are worked out
HEAVIEST = 0.1  # of a standard error, that a row may weigh where they are
STEPS, EXACT = 50, 1e-6  # of an iteration, and how near to a deviate it comes

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


def bootstrap_interval(
    values: Sequence[float], resamples: int, seed: int, sources: Sources = ()
) -> tuple[float, float, float]:
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
    return _ratio_interval(*by_source(sample, sources), resamples, seed)


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


def perplexity_interval(
    losses: Sequence[float], tokens: Sequence[int], resamples: int, seed: int, sources: Sources = ()
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
    (sums, _), (weights, _) = by_source(sums, sources), by_source(weights, sources)
    perplexity, low, high = np.exp(_ratio_interval(sums, weights, resamples, seed))
    return float(perplexity), float(low), float(high)


def _ratio_interval(
    sums: np.ndarray, weights: np.ndarray | None, resamples: int, seed: int
) -> tuple[float, float, float]:
    """The sum of `sums` over that of `weights`, 1 each if None, and its percentile bootstrap interval."""
    value = float(sums.mean() if weights is None else sums.sum() / weights.sum())
    if sums.size > MANY and (bounds := _worked_out(sums, weights, value)):
        return value, *bounds
    ratios = [
        sums[rows].mean(axis=1) if weights is None else sums[rows].sum(axis=1) / weights[rows].sum(axis=1)
        for rows in _resampled_rows(sums.size, resamples, seed)
    ]
    return _percentiles(value, np.concatenate(ratios))


def _worked_out(sums: np.ndarray, weights: np.ndarray | None, value: float) -> tuple[float, float] | None:
    """The percentiles of infinitely many resampled ratios; None where a row weighs too much to tell.

    The resampled ratio is at most x as often as the resampled mean of `sums - x * weights` is at most 0. How
    often that is, as a normal deviate, is known but for a relative error of 1 / rows; the x at which it is
    the percentile's is found by the secant method.
    """
    weighing = np.ones(1) if weights is None else weights
    error = sums - value * weighing
    scale = float(np.sqrt(np.square(error).sum()))  # of the sum, one standard error
    if np.abs(error).max() > HEAVIEST * scale:
        return None
    step = scale / (float(weighing.mean()) * sums.size)
    bounds = []
    for deviate in (-Z, Z):
        x, before, found_before = value + deviate * step, value, 0.0
        for _ in range(STEPS):
            found = _deviate(sums - x * weighing)
            if abs(found - deviate) < EXACT:
                break
            x, before, found_before = (
                x + (deviate - found) * (x - before) / (found - found_before),
                x,
                found,
            )
        else:
            return None
        bounds.append(x)
    return bounds[0], bounds[1]


def _deviate(differences: np.ndarray) -> float:
    """The normal deviate of the chance that the mean of resampled `differences` is at most 0.

    Barndorff-Nielsen's form of the saddlepoint approximation, for a mean that is not 0 itself.
    """
    count, tilt = differences.size, 0.0
    for _ in range(STEPS):  # Newton's method for the least value of the cumulant generating function
        tilted = np.exp(tilt * differences)
        total = tilted.sum()
        slope = float(tilted @ differences / total)
        curve = float(tilted @ np.square(differences) / total) - slope**2
        step = slope / curve
        tilt -= step
        if abs(step) * np.sqrt(count * curve) < EXACT / 100:
            break
    lowest = np.log(np.exp(tilt * differences).mean())
    root = float(np.sign(tilt) * np.sqrt(max(0.0, -2 * count * lowest)))
    return root + float(np.log(tilt * np.sqrt(count * curve) / root)) / root


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


def paired_interval(
    a: Sequence[float], b: Sequence[float], resamples: int, seed: int, sources: Sources = ()
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
    return bootstrap_interval(differences, resamples, seed, sources)
