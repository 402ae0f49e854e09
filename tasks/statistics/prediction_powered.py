"""A mean by people's labels of some rows, with the help of a judge's scores of all of them.

Prediction-powered inference (Angelopoulos et al., Prediction-powered inference, 2023) with its tuned weight
(PPI++: Angelopoulos, Duchi and Zrnic, PPI++: Efficient Prediction-Powered Inference, 2023): the mean score
over all rows, times a weight, and the mean of what labels differ from so much of the scores, over the rows
that have both. Whatever the weight, the judge's own error is taken away; the weight that makes the variance
least is 1 for a judge that gives what people give, and 0 for one whose scores say nothing of it.

Labelled rows are a part of all rows. The paper's two sets are apart, scores of unlabelled rows
and labels of others; its estimate is this one, its lambda being the weight times the share of rows without a
label. Over all rows the best weight is Cov(labels, scores) / Var(scores), and the two terms are then
uncorrelated: what was regressed on, and the residuals. Rows that were drawn with unequal chances count by
the inverse of their chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.statistics.bounded import ROUNDING, bounded_interval, weighted_interval
from tasks.statistics.intervals import Sources, by_source

LEAST_UNITS = 10
"""Labelled rows, those of one source counted once, below which no mean is corrected: what so few say of the
judge's error, and of how it varies, is chance (docs/simulations.md has the table)."""

MOST = 1.0
"""Of the weight: labels that vary more than the scores would else make one row's residual worth several."""


@dataclass(frozen=True)
class Corrected:
    """A mean corrected by labels, with its 95% interval."""

    estimate: float
    low: float
    high: float
    standard_error: float
    weight: float
    """What the scores count, lambda: of the mean over all rows."""
    labelled: int
    """Rows that have a label."""
    units: int
    """The same, those of one source counted once."""
    rows: int
    """Rows that have a score, the labelled ones included."""
    by_rows: tuple[float, float]
    """How far below and above the estimate the ends would lie for the scores of the rows alone."""
    by_labels: tuple[float, float]
    """How far for the labels alone. The squares of the two add up to those of the interval."""

    def labels_needed(self, half_width: tuple[float, float]) -> int | None:
        """Labelled rows in all from which the ends lie no further from the estimate than `half_width`.

        An end that labels bring nearer does so with the square root of their number; each end is asked for
        its own distance, None where not even the labels of all rows would do.
        """
        needed = self.labelled
        for wanted, rows, labels in zip(half_width, self.by_rows, self.by_labels, strict=True):
            room = wanted**2 - rows**2
            if wanted < math.inf and labels > 0.0:
                if room <= 0.0:
                    return None
                needed = max(needed, math.ceil(self.labelled * labels**2 / room - 1e-9))
        return needed if needed <= self.rows else None


def prediction_powered(
    scores: Sequence[float],
    labels: Sequence[float | None],
    chances: Sequence[float],
    sources: Sources = (),
    low: float = 0.0,
    high: float = 100.0,
) -> Corrected | None:
    """The mean label of rows like these, by the `scores` of all and the `labels` of some; None for too few.

    All are from `low` to `high`. `chances` are those with which a row came to be labelled; of unlabelled rows
    they are not read. The ends of the interval are those of the two terms, each right for few values of any
    distribution (tasks/statistics/bounded.py), put together by the squares of their distances from the
    estimate (MOVER: Zou and Donner, Construction of confidence limits about effect measures, 2008). The row
    that was not seen, which such an interval reckons with, has the mean score and a label at an end of the
    range. Rows of one source are one unit in both terms.

    Raises ValueError when lengths differ, a score or a label is outside its range, or a chance is not above 0
    and at most 1.
    """
    predicted = np.asarray(scores, dtype=np.float64)
    if not len(scores) == len(labels) == len(chances) or not len(scores):
        raise ValueError(f"found {len(scores)} scores, {len(labels)} labels, {len(chances)} chances")
    places = np.array([place for place, label in enumerate(labels) if label is not None], dtype=np.intp)
    own = [sources[place] for place in places] if sources else ()
    units = len(by_source(np.zeros(len(places)), own)[0])
    if units < LEAST_UNITS:
        return None
    given = np.array([labels[place] for place in places], dtype=np.float64)
    likely = np.array([chances[place] for place in places], dtype=np.float64)
    if not ((likely > 0.0) & (likely <= 1.0)).all():
        raise ValueError("the chance of a labelled row is above 0 and at most 1")
    for values in (predicted, given):
        if (np.abs(values - np.clip(values, low, high)) > ROUNDING * (high - low)).any():
            raise ValueError(f"found scores or labels outside {low:g} to {high:g}")
    counts = 1.0 / likely
    slope = tuned_weight(predicted, predicted[places], given, counts)
    weight = min(slope, MOST)
    over_all = bounded_interval(weight * predicted, weight * low, weight * high, sources) if weight else None
    residuals = given - weight * predicted[places]
    usual = weight * float(predicted.mean())
    lowest = min(low - usual, float(residuals.min()))
    over_labels = weighted_interval(residuals, counts, lowest, max(high - usual, float(residuals.max())), own)
    mean, lowest, highest = over_all or (0.0, 0.0, 0.0)
    rest, rest_lowest, rest_highest = over_labels
    spread = math.sqrt(2.0 * slope / weight - 1.0) if weight else 1.0  # of two terms that go together
    by_rows = spread * (mean - lowest), spread * (highest - mean)
    by_labels = rest - rest_lowest, rest_highest - rest
    estimate = mean + rest
    below, above = (math.hypot(*ends) for ends in zip(by_rows, by_labels, strict=True))
    variance = spread**2 * _variance(weight * predicted, np.ones(len(predicted)), sources)
    variance += _variance(residuals, counts, own)
    return Corrected(
        estimate=min(max(estimate, low), high),
        low=max(estimate - below, low),
        high=min(estimate + above, high),
        standard_error=math.sqrt(variance),
        weight=weight,
        labelled=len(places),
        units=units,
        rows=len(predicted),
        by_rows=by_rows,
        by_labels=by_labels,
    )


def tuned_weight(
    scores: np.ndarray, of_labelled: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> float:
    """What makes the variance least: Cov(labels, scores) / Var(scores), never below 0.

    `scores` (rows,) are of all rows, `of_labelled` (labelled,) those of the rows with `labels`; each of these
    stands for `counts` rows. The paper's lambda is this times the share of the rows without a label.
    """
    spread = float(scores.var())
    if spread == 0.0:
        return 0.0
    share = counts / counts.sum()
    apart = labels - share @ labels
    return max(0.0, float(share @ (apart * (of_labelled - share @ of_labelled))) / spread)


def _variance(values: np.ndarray, counts: np.ndarray, sources: Sources) -> float:
    """Of the mean of values that stand for `counts` rows each, those of one source being one unit."""
    mean = float(counts @ values / counts.sum())
    apart, _ = by_source(counts * (values - mean), sources)
    return float(np.square(apart).sum() * len(apart) / max(len(apart) - 1, 1) / counts.sum() ** 2)
