"""What the differences between two sets of scores over the same rows can be said to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tasks.statistics.intervals import DRAWS_AT_ONCE, Sources, Z, by_source, wilson_interval

ENUMERATED = 16  # differences up to which all 65,536 choices of signs are tried
ROUNDING = 1e-10  # of the sum of sizes: how far two sums may differ that are equal but for rounding


def sign_flip_test(
    differences: Sequence[float], permutations: int, seed: int, sources: Sources = ()
) -> float:
    """Two-sided p-value of the mean of paired `differences`, were each as likely to be of the other sign.

    That is Fisher's randomisation test (The Design of Experiments, 1935, section 21). Differences of one
    source change their sign together. Zeros have no sign and take no part; without any other difference the
    p-value is 1. It is exact for up to 16 differences that are not zero, where `permutations` and `seed` have
    no effect. For more, that many choices of signs are drawn, and the observed one counts as one of them, so
    that it is never 0 (Phipson and Smyth, Permutation P-values Should Never Be Zero, 2010).

    Raises ValueError when a difference is not finite or `permutations` is below 1.
    """
    sample = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(sample).all() or permutations < 1:
        raise ValueError(f"the test needs finite differences and a permutation; found {permutations} of them")
    sample, _ = by_source(sample, sources)
    sample = sample[sample != 0.0]
    if sample.size == 0:
        return 1.0
    extreme = abs(sample.sum()) - ROUNDING * np.abs(sample).sum()
    if sample.size <= ENUMERATED:
        sums = np.zeros(1)
        for difference in sample:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= extreme))
    generator = np.random.default_rng(seed)
    chunk = max(1, DRAWS_AT_ONCE // sample.size)
    reached = 0
    for start in range(0, permutations, chunk):
        shape = (min(chunk, permutations - start), sample.size)
        flipped = generator.integers(0, 2, size=shape, dtype=np.int8) @ sample
        reached += int(np.count_nonzero(np.abs(sample.sum() - 2 * flipped) >= extreme))
    return (reached + 1) / (permutations + 1)


def smallest_detectable(
    differences: Sequence[float], power: float = 0.8, sources: Sources = ()
) -> float | None:
    """The true mean difference that as many rows, as varied as these, would show with chance `power`.

    In the units of `differences`: (z_0.975 + z_power) standard errors of their mean, for a two-sided test at
    5% (Card et al., With Little Power Comes Great Responsibility, 2020). None where nothing is known about
    how differences vary: below two of them, or when all are equal.

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
    return float((Z + NormalDist().inv_cdf(power)) * error)


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
