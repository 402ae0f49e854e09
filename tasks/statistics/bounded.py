"""What is known of a mean of bounded values, however few there are and whatever their distribution.

The lower end of an interval is a quantile of the weighted mean of the values and one more, the least that
is possible, where the weights are drawn evenly from all that sum to 1 (Dirichlet(1, ..., 1)); the upper end
likewise with the greatest one (Gaffke, Three test statistics for a nonparametric one-sided hypothesis on
the mean of a nonnegative variable, 2005; Learned-Miller and Thomas, A New Confidence Interval for the Mean of
a Bounded Random Variable, 2019). Of values that are 0 or 1 this is Clopper and Pearson's interval, and of
paired ones the p-value is McNemar's exact one. No distribution is known of which such an interval holds the
mean less often than it says; that there is none is a conjecture, and tests/statistics/test_promotion_error.py
tries some that others fail. Nothing is drawn: the quantiles are integrals, whose sums do not depend on the
number of threads.

The possible values that were not seen matter: twelve equal ones do not show that the thirteenth is equal.

Rows of one source are one unit, whose values move together. The mean is then a ratio, of the units' sums to
their sizes, and the possible unit that was not seen is as large as the largest that was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from tasks.statistics.intervals import Sources, by_source, wilson_interval

TAIL = 0.025  # of an interval of 95%, on either side: the one-sided level of each of its ends
LEAST_STEP = 1e-12  # by which the end of an interval is known, where all values are nearly 0
NEAR = 6.0  # standard errors, within which the end of an interval is looked for first
FURTHEST = 38.0  # standard normal deviates: what is beyond has a chance below the least float
SPACING, POINTS, LONGEST = 0.23, 12, 24.0  # of an integral: between its points, points at once, and its end
LEAST_LOSS = 0.01  # nats: of rows that are all certain, half the loss that another might have
VANISHING = 1e-12  # of the greatest term: below it a term changes no chance that matters
NEGLIGIBLE = 1e-11  # of the first point of an integral
ROUNDING = 1e-9  # of the range: how far beyond its end a value may come by rounding
AT_ONCE = 20_000  # units, times POINTS numbers of 8 bytes, held in memory


@dataclass(frozen=True)
class _Units:
    """Sums of values (units,), sizes (units,), and how often each occurs (units,)."""

    sums: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, sources: Sources) -> Self:
        sums, sizes = by_source(values, sources)
        if sizes is not None:
            return cls(sums, sizes, np.ones(len(sums)))
        distinct, counts = np.unique(sums, return_counts=True)
        return cls(distinct, np.ones(len(distinct)), counts.astype(np.float64))

    @property
    def mean(self) -> float:
        if len(self.sums) == 1:
            return float(self.sums[0] / self.sizes[0])  # exactly, where a rounded mean might differ
        return float((self.sums * self.counts).sum() / (self.sizes * self.counts).sum())

    def chance_of_at_most(self, mean: float, least: float) -> float:
        """That the weighted mean of the units and one more of `least` values is at most `mean`."""
        terms = np.append(self.sums - mean * self.sizes, self.sizes.max() * (least - mean))
        return _chance_of_no_gain(terms, np.append(self.counts, 1.0))

    def lower(self, least: float, level: float) -> float:
        """The mean that has `level` as its chance."""
        top = float((self.sums / self.sizes).max())
        if top <= least:
            return least

        def deviate(mean: float) -> float:
            return _deviate(self.chance_of_at_most(mean, least)) - float(ndtri(level))

        near = self.mean - NEAR * self._error(least)
        bottom = near if near > least and deviate(near) < 0.0 else least
        return float(brentq(deviate, bottom, top, xtol=max(1e-9 * (top - least), LEAST_STEP), rtol=1e-12))

    def interval(self, least: float, greatest: float, level: float = TAIL) -> tuple[float, float, float]:
        """Mean, lower and upper end."""
        low, high = self.lower(least, level), -self._mirrored().lower(-greatest, level)
        return self.mean, min(low, self.mean), max(high, self.mean)

    def _mirrored(self) -> Self:
        return replace(self, sums=-self.sums)

    def _error(self, least: float) -> float:
        """The standard error of the mean, with the unit that was not seen."""
        apart = np.append(self.sums - self.mean * self.sizes, self.sizes.max() * (least - self.mean))
        return math.sqrt(float((np.append(self.counts, 1.0) * np.square(apart)).sum())) / float(
            (self.counts * self.sizes).sum()
        )


def bounded_interval(
    values: Sequence[float], low: float, high: float, sources: Sources = (), level: float = TAIL
) -> tuple[float, float, float]:
    """Mean of `values`, all from `low` to `high`, and its interval, as (mean, low, high).

    Each end has the one-sided `level`: by default it is the 95% interval. Its width is never 0.

    Raises ValueError when there are no values, or one is outside.
    """
    units = _units(values, low, high, sources)
    return units.interval(low, high, level)


def weighted_interval(
    values: Sequence[float], counts: Sequence[float], low: float, high: float, sources: Sources = ()
) -> tuple[float, float, float]:
    """As `bounded_interval`, of values that stand for `counts` rows each: drawn with unequal chances, say.

    The possible unit that was not seen stands for as many rows as the greatest that was.

    Raises ValueError as that does.
    """
    weights = np.asarray(counts, dtype=np.float64)
    within = _within(values, low, high)
    sums, _ = by_source(within * weights, sources)
    sizes, _ = by_source(weights, sources)
    return _Units(sums, sizes, np.ones(len(sums))).interval(low, high)


def bounded_chance(
    values: Sequence[float], low: float, high: float, mean: float = 0.0, sources: Sources = ()
) -> float:
    """One-sided p-value of values from `low` to `high`, were their true mean at most `mean`.

    It is at most a level exactly where `bounded_interval` of that level lies above `mean`.

    Raises ValueError as that does.
    """
    return _units(values, low, high, sources).chance_of_at_most(mean, low)


def mean_interval(
    values: Sequence[float], low: float, high: float, sources: Sources = ()
) -> tuple[float, float, float]:
    """As `bounded_interval`; but of values that are all `low` or `high`, a share, it is Wilson's.

    That one needs independent rows: of rows that share a source it is not used.

    Raises ValueError as `bounded_interval` does.
    """
    sample = np.asarray(values, dtype=np.float64)
    at_top = int(np.count_nonzero(sample == high))
    is_share = sample.size > 0 and at_top + np.count_nonzero(sample == low) == sample.size
    if not is_share or by_source(sample, sources)[1] is not None:
        return bounded_interval(values, low, high, sources)
    ends = wilson_interval(at_top, sample.size)
    share = at_top / sample.size
    return tuple(low + (high - low) * part for part in (share, *ends))


def least_shown(apart: np.ndarray, sizes: np.ndarray, span: float) -> float | None:
    """The least mean from which values would be shown to lie above 0; None where that is beyond `span`.

    `apart` are the units' sums less the mean of all, `sizes` how many values each has; values are from
    `-span` to `span`.
    """
    ones = np.ones(len(apart))

    def deviate(mean: float) -> float:
        units = _Units(apart + mean * sizes, sizes, ones)
        return float(ndtri(TAIL)) - _deviate(units.chance_of_at_most(0.0, -span))

    return None if deviate(span) < 0.0 else float(brentq(deviate, 0.0, span, xtol=1e-9 * span))


def unbounded_interval(values: Sequence[float], sources: Sources = ()) -> tuple[float, float, float]:
    """As `bounded_interval`, of lengths: from 0 on, without an end, for which twice the longest stands.

    Raises ValueError when there are none, or one is negative.
    """
    return bounded_interval(values, 0.0, 2.0 * max(1.0, *values), sources)


def perplexity_interval(
    losses: Sequence[float], tokens: Sequence[int], sources: Sources = ()
) -> tuple[float, float, float]:
    """Perplexity over all tokens and its 95% interval, as (perplexity, low, high).

    `losses` are each row's mean in nats over its `tokens`. A long row weighs more: the mean of the rows'
    perplexities would be that of its worst one. A row that was not seen has a loss of 0 or more, up to twice
    the greatest one.

    Raises ValueError when there are no rows.
    """
    weights, each = np.asarray(tokens, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if each.size == 0:
        raise ValueError("a perplexity needs at least one row")
    (sums, _), (sizes, _) = by_source(each * weights, sources), by_source(weights, sources)
    units = _Units(sums, sizes, np.ones(len(sums)))
    perplexity, low, high = np.exp(units.interval(0.0, 2.0 * max(float(each.max()), LEAST_LOSS)))
    return float(perplexity), float(low), float(high)


def _units(values: Sequence[float], low: float, high: float, sources: Sources) -> _Units:
    return _Units.of(_within(values, low, high), sources)


def _within(values: Sequence[float], low: float, high: float) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    within = np.clip(sample, low, high)
    if sample.size == 0 or not (np.abs(sample - within) <= ROUNDING * (high - low)).all():
        raise ValueError(f"a mean needs at least one value, all from {low:g} to {high:g}; found {sample}")
    return within


def _deviate(chance: float) -> float:
    return min(FURTHEST, max(-FURTHEST, float(ndtri(chance))))


def _chance_of_no_gain(terms: np.ndarray, counts: np.ndarray) -> float:
    """The chance that the sum of `terms`, each times an exponential variable of its own, is at most 0.

    Terms occur `counts` times. The weights of a Dirichlet distribution are such variables over their sum,
    which does not matter here. The chance is the integral of the moment generating function over its
    argument, along a line through the saddle, where nothing oscillates; the step grows with the distance,
    so that the trapezoidal rule is exact but for rounding (Lugannani and Rice, Saddle point approximation for
    the distribution of the sum of independent random variables, 1980, begin with the same integral).
    """
    terms = np.where(np.abs(terms) > VANISHING * np.abs(terms).max(), terms, 0.0)
    if terms.max() <= 0.0:
        return 1.0
    if terms.min() >= 0.0:
        return 0.0
    terms = terms / np.abs(terms).max()
    if (terms * counts).sum() < 0.0:  # the smaller of the two tails is the one that is integrated
        return 1.0 - _upper_tail(terms, counts)
    return _upper_tail(-terms, counts)


def _upper_tail(terms: np.ndarray, counts: np.ndarray) -> float:
    """The chance that the weighted sum is above 0."""
    pole = 1.0 / float(terms.max())

    def slope(at: float) -> float:
        return float((counts * terms / (1.0 - terms * at)).sum()) - 1.0 / at

    saddle = brentq(slope, 1e-12 * pole, (1.0 - 1e-12) * pole, rtol=1e-3)
    each = terms / (1.0 - terms * saddle)
    scale = 1.0 / math.sqrt(float((counts * np.square(each)).sum()) + saddle**-2)
    height = -float((counts * np.log1p(-terms * saddle)).sum()) - math.log(saddle)
    total, start, far = 0.0, 0, math.inf
    while far > NEGLIGIBLE and start * SPACING < LONGEST:
        steps = SPACING * np.arange(start, start + POINTS)
        offsets = scale * np.sinh(steps)
        sizes, angles = -0.5 * np.log1p(np.square(offsets / saddle)), -np.arctan(offsets / saddle)
        for first in range(0, len(each), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            scaled = np.multiply.outer(offsets, each[part])
            angles += (np.arctan(scaled) * counts[part]).sum(axis=1)
            sizes -= 0.5 * (np.log1p(np.square(scaled)) * counts[part]).sum(axis=1)
        points = np.exp(sizes) * np.cos(angles) * np.cosh(steps)
        total += float(points.sum()) - (0.5 if start == 0 else 0.0)
        far, start = float(np.exp(sizes[-1]) * np.cosh(steps[-1])), start + POINTS
    return min(1.0, math.exp(height) * scale * SPACING * total / math.pi)
