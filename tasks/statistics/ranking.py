"""How well one list of numbers orders rows as another does, or good rows above bad ones.

Only the order counts: a scorer that gives 51 to every good answer and 50 to every bad one ranks perfectly.
"""

import math
from collections.abc import Sequence

import numpy as np

from tasks.statistics.intervals import Z

ROUNDING = 1e-12  # of a spread of ranks, as shares: below it all are equal
HALVINGS = 60  # of an interval no longer than 1, down to the last bit of a float


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Share of the pairs of one good and one bad row in which the good one scores higher; a tie is half.

    This is the area under the receiver operating characteristic, and the Mann-Whitney statistic over the
    number of pairs (Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve, 1982). It is 0.5
    when the scores tell nothing. The time goes as sorting does, not with the number of pairs.

    Raises ValueError when there is nothing on one side, or a score is not a number.
    """
    above, below = _numbers(good), np.sort(_numbers(bad))
    if above.size == 0 or below.size == 0:
        raise ValueError(f"a ranking needs rows of both kinds; found {above.size} good, {below.size} bad")
    higher = np.searchsorted(below, above, side="left").sum()
    higher_or_tied = np.searchsorted(below, above, side="right").sum()
    return float((higher + higher_or_tied) / (2 * above.size * below.size))


def auc_interval(value: float, goods: int, bads: int) -> tuple[float, float]:
    """95% interval of an `auc` of `value` over `goods` and `bads` independent rows, as (low, high).

    Each bound is the area that lies Z of its own standard errors from `value`, by Hanley and McNeil's
    variance with both numbers of rows in its bracket replaced by their mean (Newcombe, Confidence intervals
    for an effect size measure based on the Mann-Whitney statistic, Part 2, 2006, method 5). Because the error
    is that at the bound, there is a width also at areas of 0 and 1.

    Raises ValueError without at least one row of each kind, or for a value that is no share.
    """
    if goods < 1 or bads < 1 or not 0.0 <= value <= 1.0:
        raise ValueError(f"an area is 0 to 1, over rows of both kinds; found {value} of {goods} and {bads}")
    return _lower_bound(value, goods, bads), 1.0 - _lower_bound(1.0 - value, goods, bads)


def _lower_bound(value: float, goods: int, bads: int) -> float:
    """The area below `value` from which it is Z standard errors away, by halving."""
    others = (goods + bads) / 2 - 1
    low, high = 0.0, value
    for _ in range(HALVINGS):
        area = (low + high) / 2
        bracket = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * bracket / (goods * bads)
        if (value - area) ** 2 > Z**2 * variance:
            low = area
        else:
            high = area
    return low


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation of `a` and `b` over the same rows, -1 to 1; tied rows share their rank.

    None where there is no order to compare: below three rows, or when one side is constant.

    Raises ValueError when the two are not of the same length, or a value is not a number.
    """
    if len(a) != len(b):
        raise ValueError(f"a correlation is over the same rows; found {len(a)} and {len(b)}")
    if len(a) < 3:
        return None
    ranks_a, ranks_b = average_ranks(a), average_ranks(b)
    offset_a, offset_b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    spread = math.sqrt((offset_a @ offset_a) * (offset_b @ offset_b))
    if spread == 0.0:
        return None
    return float(offset_a @ offset_b) / spread  # never beyond 1: sums of half-integers are exact


def weighted_spearman(a: Sequence[float], b: Sequence[float], counts: Sequence[float]) -> float | None:
    """As `spearman`, of rows that stand for `counts` rows each, as those of a sample do.

    A row's rank is the number of rows below it, and half of those that are equal.
    """
    if len(a) < 3:
        return None
    weights = np.asarray(counts, dtype=np.float64)
    share = weights / weights.sum()
    ranks_a, ranks_b = (_ranks_by_weight(_numbers(values), share) for values in (a, b))
    offset_a, offset_b = ranks_a - share @ ranks_a, ranks_b - share @ ranks_b
    spread = math.sqrt((share @ np.square(offset_a)) * (share @ np.square(offset_b)))
    if spread < ROUNDING:
        return None
    return min(1.0, max(-1.0, float(share @ (offset_a * offset_b)) / spread))


def _ranks_by_weight(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    _, place = np.unique(values, return_inverse=True)
    own = np.bincount(place, share)
    return (np.cumsum(own) - own / 2)[place]


def spearman_interval(value: float, count: int) -> tuple[float, float] | None:
    """95% interval of a rank correlation of `value` over `count` rows, as (low, high); None below 4 rows.

    By Fisher's transformation with the standard error sqrt((1 + value^2 / 2) / (count - 3)) of Bonett and
    Wright (Sample size requirements for estimating Pearson, Kendall and Spearman correlations, 2000). The
    transformation of 1 is infinite. So a correlation closer to 1 than that of an order with two neighbours
    swapped, the next one below among untied rows, has the lower end of that one, and 1 as the upper end;
    likewise near -1.

    Raises ValueError for a value outside -1 to 1.
    """
    if not -1.0 <= value <= 1.0:
        raise ValueError(f"a correlation is from -1 to 1; found {value}")
    if count < 4:
        return None
    one_swap = min(1 - 12 / (count * (count**2 - 1)), math.nextafter(1.0, 0.0))
    within = min(one_swap, max(-one_swap, value))
    middle, half = math.atanh(within), Z * math.sqrt((1 + within**2 / 2) / (count - 3))
    low = -1.0 if value < -one_swap else math.tanh(middle - half)
    high = 1.0 if value > one_swap else math.tanh(middle + half)
    return low, high


def average_ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1, of shape (rows,); equal values share the average of the places that they take.

    Raises ValueError when a value is not a number.
    """
    _, place, counts = np.unique(_numbers(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _numbers(values: Sequence[float]) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if np.isnan(numbers).any():
        raise ValueError(f"a value that is not a number has no rank; found {np.isnan(numbers).sum()}")
    return numbers
