"""What several trainings of one recipe, each with a seed of its own, say of the recipe.

Scores are of every seed on the same rows, so that two things vary which were drawn once: the rows, and the
trainings. An interval is put together from one for each. That of the rows is the interval of bounded values
(bounded.py) of the rows' means over the seeds; that of the trainings is Student's t on the seeds' means, with
a degree of freedom less than there are seeds. Their distances from the mean are added as squares (Zou and
Donner, Construction of confidence limits about effect measures, 2008). Two recipes on the same rows have the
rows' differences and a part for each of their trainings: Welch's test, which would join those two parts in
one, calls equal recipes unlike up to 10% of the time at 2 and 5 seeds.

Resampling seeds, then rows, would be too narrow at the few seeds that anyone can pay for: two seeds drawn
from two are the same one in half of the draws (`python -m tests.benchmarks.seeds` has the table). Student's t
costs: 12.7 standard errors with 2 seeds, 4.3 with 3, 2.8 with 5. It takes seeds' means for normal; where one
training in many breaks, no test can know of that before it has seen one.

Of a single seed the trainings' part is unknown, and the interval is that of the rows alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from tasks.statistics.bounded import TAIL, bounded_chance, bounded_interval, weighted_interval
from tasks.statistics.intervals import Sources

Scores = Sequence[Sequence[float | None]]
"""By seed, then by row; None is missing."""


@dataclass(frozen=True)
class OverSeeds:
    """The mean over seeds and rows, with its 95% intervals, and how far the seeds are apart."""

    mean: float
    low: float
    high: float
    """Over seeds and rows; of one seed over rows alone."""
    rows_low: float
    rows_high: float
    """Over rows alone, for these very trainings."""
    by_seed: tuple[float, ...]
    """Each seed's mean over the rows that all of them scored."""
    sd: float | None
    """Standard deviation between the seeds' means; None of one seed."""
    p: float | None
    """Of differences: two-sided; at most 5% exactly where the interval does not hold 0."""
    rows: int
    """That have a score of every seed."""


@dataclass(frozen=True)
class TrainingsPart:
    """What a recipe's trainings add: the standard error of its mean over seeds, and how well it is known."""

    error: float
    freedom: int

    @classmethod
    def of(cls, means: np.ndarray) -> "TrainingsPart":
        seeds = len(means)
        error = float(means.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
        return cls(error, max(1, seeds - 1))

    def half_width(self, tail: float) -> float:
        if self.error == 0.0 or tail >= 0.5:
            return 0.0
        return float(stdtrit(self.freedom, 1.0 - tail)) * self.error


def over_seeds(
    scores: Scores,
    low: float = 0.0,
    high: float = 100.0,
    sources: Sources = (),
    counts: Sequence[float] = (),
) -> OverSeeds | None:
    """What one recipe's seeds come to; None where no row has a score of all.

    `counts` say for how many each row stands; else all weigh the same.

    Raises ValueError when seeds have not as many rows, or a score is not from `low` to `high`.
    """
    places = _rows_of_all(scores)
    if not places:
        return None
    known = _array(scores, places)
    own = _at(sources, places)
    if counts:
        sizes = [counts[place] for place in places]
        means = np.average(known, axis=1, weights=sizes)
        mean, rows_low, rows_high = weighted_interval(known.mean(axis=0), sizes, low, high, own)
    else:
        means = known.mean(axis=1)
        mean, rows_low, rows_high = bounded_interval(known.mean(axis=0), low, high, own)
    wide = _widened(mean, rows_low, rows_high, [TrainingsPart.of(means)], low, high)
    return OverSeeds(mean, *wide, rows_low, rows_high, tuple(means.tolist()), _sd(means), None, len(places))


def gain_over_seeds(
    a: Scores, b: Scores, sources: Sources = (), low: float = 0.0, high: float = 100.0
) -> OverSeeds | None:
    """What `a - b` comes to, where each seed trained both models; None where no row has all scores.

    Rows and seeds are paired. Of one seed it is `paired_test`. Where scores are missing, the lower end is
    that with all of them the worst for `a`, the upper end that with all of them the best.

    Raises ValueError as `over_seeds` does, and when there are not as many seeds of both.
    """
    if len(a) != len(b):
        raise ValueError(f"each seed trained both models; found {len(a)} and {len(b)} seeds")
    places = _rows_of_all([*a, *b])
    if not places:
        return None
    shown = _shown(a, b, places, sources, low, high, paired_seeds=True)
    means = (_array(a, places) - _array(b, places)).mean(axis=1)
    return OverSeeds(**shown, by_seed=tuple(means.tolist()), sd=_sd(means), rows=len(places))


@dataclass(frozen=True)
class Difference:
    """The mean difference of two recipes over seeds and the same rows; positive: the first is better."""

    difference: float
    """Of the rows that every seed of both has scored."""
    low: float
    high: float
    """The 95% interval over seeds and rows, whatever the missing scores would have been."""
    p: float
    """Two-sided; at most 5% exactly where the interval does not hold 0."""
    rows_low: float
    rows_high: float
    """The same over rows alone, for these very trainings."""
    sd_a: float | None
    sd_b: float | None
    """Standard deviations between the seeds' means; None of one, whose training is not in the interval."""
    rows: int
    """That have a score of every seed of both."""


def difference_of_recipes(
    a: Scores, b: Scores, sources: Sources = (), low: float = 0.0, high: float = 100.0
) -> Difference | None:
    """What `a - b` shows; rows are paired, seeds are not; None where no row has all scores.

    Of one seed each it is `paired_test`. Where scores are missing, the lower end is that with all of them the
    worst for `a`, the upper end that with all of them the best.

    Raises ValueError as `over_seeds` does.
    """
    places = _rows_of_all([*a, *b])
    if not places:
        return None
    shown = _shown(a, b, places, sources, low, high, paired_seeds=False)
    sd_a, sd_b = (_sd(_array(own, places).mean(axis=1)) for own in (a, b))
    return Difference(shown.pop("mean"), **shown, sd_a=sd_a, sd_b=sd_b, rows=len(places))


def _shown(
    a: Scores, b: Scores, places: Sequence[int], sources: Sources, low: float, high: float, paired_seeds: bool
) -> dict[str, float]:
    """Mean, ends and p-value of `a - b` by the rows with all scores, and with the others at their worst."""
    span = high - low
    found = _compared(_array(a, places), _array(b, places), span, _at(sources, places), paired_seeds)
    every = [found]
    if len(places) < len(a[0]):
        for missing, against in ((low, high), (high, low)):
            ours, theirs = _filled(a, missing), _filled(b, against)
            every.append(_compared(ours, theirs, span, sources, paired_seeds))
    _, worst, best = every if len(every) > 1 else every * 3
    below, above = max(found.below, worst.below), max(found.above, best.above)
    return {
        "mean": found.mean,
        "low": min(found.low, worst.low),
        "high": max(found.high, best.high),
        "rows_low": min(found.rows_low, worst.rows_low),
        "rows_high": max(found.rows_high, best.rows_high),
        "p": min(1.0, 2.0 * min(below, above)),
    }


@dataclass(frozen=True)
class _Compared:
    mean: float
    low: float
    high: float
    rows_low: float
    rows_high: float
    below: float
    above: float


def _compared(a: np.ndarray, b: np.ndarray, span: float, sources: Sources, paired_seeds: bool) -> _Compared:
    """Of scores of shape (seeds, rows), as many seeds where those are paired."""
    values = a.mean(axis=0) - b.mean(axis=0)
    drawn = [a - b] if paired_seeds else [a, b]
    parts = [TrainingsPart.of(one.mean(axis=1)) for one in drawn]
    mean, rows_low, rows_high = bounded_interval(values, -span, span, sources)
    wide = _widened(mean, rows_low, rows_high, parts, -span, span)
    below, above = (_chance(sign * values, span, sources, parts) for sign in (1, -1))
    return _Compared(mean, *wide, rows_low, rows_high, below, above)


def interval_of_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None, float | None]:
    """Mean of one number a seed, the ends of its 95% interval, and the standard deviation.

    Student's t; of one seed there is the mean alone.

    Raises ValueError when there are none.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("a mean over seeds needs at least one")
    mean = float(sample.mean())
    if sample.size == 1:
        return mean, None, None, None
    half = TrainingsPart.of(sample).half_width(TAIL)
    return mean, mean - half, mean + half, float(sample.std(ddof=1))


def _widened(
    mean: float, rows_low: float, rows_high: float, parts: Sequence[TrainingsPart], low: float, high: float
) -> tuple[float, float]:
    """The ends with the trainings' parts; without any exactly those of the rows."""
    halves = [half for part in parts if (half := part.half_width(TAIL))]
    if not halves:
        return rows_low, rows_high
    return (
        max(low, mean - math.hypot(mean - rows_low, *halves)),
        min(high, mean + math.hypot(rows_high - mean, *halves)),
    )


def _chance(values: np.ndarray, span: float, sources: Sources, parts: Sequence[TrainingsPart]) -> float:
    """One-sided p-value of values from `-span` to `span`, were their true mean at most 0.

    It is the tail of the interval whose lower end is 0: at most 2.5% exactly where that of 95% lies above 0.
    The tail is looked for by where the rows' own interval would end, which has one tail, and so one width of
    the seeds' part.
    """
    mean = float(values.mean())

    def tail(end: float) -> float:
        return bounded_chance(values, -span, span, end, sources)

    def beyond(end: float) -> float:
        halves = (min(part.half_width(tail(end)), 10.0 * span) for part in parts)
        return math.hypot(mean - end, *halves) - mean

    of_rows = tail(0.0)
    if not any(part.error for part in parts) or mean <= 0.0 or of_rows >= 0.5:
        return of_rows
    return tail(float(brentq(beyond, 0.0, mean, xtol=1e-9 * span)))


def _rows_of_all(scores: Scores) -> list[int]:
    """The rows that all seeds have scored. Raises ValueError when seeds are not of as many rows."""
    if not scores or len({len(own) for own in scores}) > 1 or not scores[0]:
        sizes = ", ".join(str(len(own)) for own in scores) or "no seeds"
        raise ValueError(f"seeds are scored on the same rows, on at least one; found {sizes}")
    return [place for place, row in enumerate(zip(*scores, strict=True)) if None not in row]


def _at(sources: Sources, places: Sequence[int]) -> Sources:
    return [sources[place] for place in places] if sources else ()


def _sd(means: np.ndarray) -> float | None:
    return float(means.std(ddof=1)) if len(means) > 1 else None


def _array(scores: Scores, places: Sequence[int]) -> np.ndarray:
    return np.array([[own[place] for place in places] for own in scores], dtype=np.float64)


def _filled(scores: Scores, missing: float) -> np.ndarray:
    return np.array([[missing if one is None else one for one in own] for own in scores], dtype=np.float64)
