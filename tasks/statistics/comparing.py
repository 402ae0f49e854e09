"""What the differences between two sets of scores over the same rows can be said to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tasks.statistics.bounded import TAIL, bounded_chance, bounded_interval, least_shown
from tasks.statistics.intervals import Sources, by_source, wilson_interval


@dataclass(frozen=True)
class Paired:
    """What the scores of two models for the same rows show; positive means that the first is better."""

    difference: float
    """Mean difference of the rows that have both scores."""
    low: float
    high: float
    """The interval of the mean difference over all rows, whatever the missing scores would have been."""
    p: float
    """Two-sided; at most twice the level of the interval's ends exactly where that does not hold 0."""


def paired_test(
    a: Sequence[float | None],
    b: Sequence[float | None],
    sources: Sources = (),
    low: float = 0.0,
    high: float = 100.0,
    level: float = TAIL,
) -> Paired | None:
    """What `a - b` shows, row by row, of scores from `low` to `high`; None where no row has both.

    Each end of its interval has the one-sided `level`: by default it is the 95% interval.

    This is the one test by which a model is called better, at the gate as in every report. Rows are taken as
    pairs, so that what makes a row hard for both takes no part. The interval is that of bounded values
    (tasks/statistics/bounded.py), which is right from the first row on; of answers that are right or wrong,
    the p-value is McNemar's exact one (1947). Where scores are missing its lower end is that with all of them
    the worst for `a`, the upper end that with all of them the best.

    Raises ValueError when the two are not of the same length, or a score is outside its range.
    """
    both = [place for place, pair in enumerate(zip(a, b, strict=True)) if None not in pair]
    if not both:
        return None
    span = high - low
    known = np.array([a[place] - b[place] for place in both], dtype=np.float64)
    own = [sources[place] for place in both] if sources else ()
    difference, lowest, highest = bounded_interval(known, -span, span, own, level)
    below = bounded_chance(known, -span, span, sources=own)
    above = bounded_chance(-known, -span, span, sources=own)
    if len(both) < len(a):
        worst = _filled(a, low) - _filled(b, high)
        best = _filled(a, high) - _filled(b, low)
        lowest = min(lowest, bounded_interval(worst, -span, span, sources, level)[1])
        highest = max(highest, bounded_interval(best, -span, span, sources, level)[2])
        below = max(below, bounded_chance(worst, -span, span, sources=sources))
        above = max(above, bounded_chance(-best, -span, span, sources=sources))
    return Paired(difference, lowest, highest, min(1.0, 2.0 * min(below, above)))


def smallest_detectable(
    differences: Sequence[float], power: float = 0.8, sources: Sources = (), span: float = 100.0
) -> float | None:
    """The true mean difference that as many rows, as varied as these, would show with chance `power`.

    In the units of `differences`, which are from `-span` to `span`: what they must be on average for
    `paired_test` to show it, whichever side it is on, and z_power standard errors more (after Card et al.,
    With Little Power Comes Great Responsibility, 2020). None where nothing is known about how differences
    vary (below two of them, or when all are equal), and where not even the largest would be shown.

    Raises ValueError when a difference is not finite, or `power` is not between 0 and 1.
    """
    sample = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(sample).all() or not 0.0 < power < 1.0:
        raise ValueError(
            f"needed are finite differences and a power between 0 and 1; found a power of {power}"
        )
    sums, sizes = by_source(sample, sources)
    if sums.size < 2 or sample.min() == sample.max():
        return None
    apart = sums - sample.mean() * (1 if sizes is None else sizes)
    error = (np.square(apart).sum() * sums.size / (sums.size - 1)) ** 0.5 / sample.size
    of = np.ones(apart.size) if sizes is None else sizes
    either = [least_shown(sign * apart, of, span) for sign in (1, -1)]
    if None in either:
        return None
    found = float(max(either) + NormalDist().inv_cdf(power) * error)
    return found if found <= span else None


@dataclass(frozen=True)
class Outcome:
    """How many of the rows went one way: the count, and the share with its 95% interval, as fractions."""

    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """Every row is one of the three; the intervals are Wilson's, each of its own share."""

    wins: Outcome
    ties: Outcome
    losses: Outcome


def outcomes(differences: Sequence[float], tie: float = 0.0) -> Outcomes:
    """How many rows are won, tied and lost, where a difference of at most `tie` to either side is a tie.

    Raises ValueError when there are no differences, one is not a number, or `tie` is negative.
    """
    sample = np.asarray(differences, dtype=np.float64)
    if sample.size == 0 or np.isnan(sample).any() or not tie >= 0.0:
        raise ValueError(f"needed are differences and a tie from 0 on; found {sample.size} and {tie}")
    won, lost = int(np.sum(sample > tie)), int(np.sum(sample < -tie))
    counts = (won, sample.size - won - lost, lost)
    return Outcomes(*(Outcome(n, n / sample.size, *wilson_interval(n, sample.size)) for n in counts))


def difference_bounds(
    a: Sequence[float | None], b: Sequence[float | None], low: float = 0.0, high: float = 100.0
) -> tuple[float, float]:
    """The mean of `a - b` over all rows if every missing score were the worst for `a`, and the best.

    Scores are from `low` to `high`; None is a missing one (Manski, Partial Identification of Probability
    Distributions, 2003, chapter 1).

    Raises ValueError when the two are not of the same length, or empty.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"bounds are of the same rows, of at least one; found {len(a)} and {len(b)}")
    worst = _filled(a, low) - _filled(b, high)
    best = _filled(a, high) - _filled(b, low)
    return float(worst.mean()), float(best.mean())


def _filled(scores: Sequence[float | None], missing: float) -> np.ndarray:
    return np.array([missing if score is None else score for score in scores], dtype=np.float64)
