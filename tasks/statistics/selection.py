"""How far the best of several flatters itself: what is chosen by a number is better by it than it is.

Of k equal recipes that differ by noise alone, the best is ahead of their mean by the expected largest of k
draws of the noise. And of recipes that were measured on the same rows, the bootstrap shows how much of the
lead of the best is the luck of those rows: rows are drawn anew, the best of that draw is chosen, and its
number there is compared with its number on all rows (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapter 17: optimism). What all recipes gain alike by a draw, of easy rows, is no part of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr, stdtrit

from tasks.statistics.bounded import TAIL

PLACES = 2**21  # of rows that are drawn at once, 16 MiB


@dataclass(frozen=True)
class Optimism:
    """What the choice among several adds to the number of the one that is chosen, by the luck of the rows."""

    amount: float
    """In the unit of the numbers, never negative in expectation: the chosen one is worse by it."""
    chosen_again: float
    """The share of the draws in which the same one is chosen."""


def largest_of(count: int) -> float:
    """The expected largest of `count` independent draws of a standard normal."""
    above, _ = quad(lambda x: 1 - ndtr(x) ** count, 0, np.inf)
    below, _ = quad(lambda x: ndtr(x) ** count, -np.inf, 0)
    return above - below


def lead_of_noise(values: Sequence[float]) -> float | None:
    """By how much the best of equal recipes would be ahead of their mean, were all differences noise.

    The spread of the values themselves is taken for the noise, so that the true amount is at most about as
    large. None of fewer than two.
    """
    return largest_of(len(values)) * stdev(values) if len(values) > 1 else None


def optimism(
    sums: np.ndarray, counts: np.ndarray, *, minimize: bool, resamples: int, seed: int = 0
) -> Optimism:
    """The bootstrap's estimate for recipes that were measured on the same rows.

    `sums` (recipes, rows) are what each row adds, `counts` (recipes, rows) how much of each there is (its
    tokens; 1 for a mean over rows): a recipe's number is the ratio of the totals. Raises ValueError for fewer
    than two rows, and for counts of other rows.
    """
    if sums.shape[1] < 2 or sums.shape != counts.shape:
        raise ValueError(f"expected two rows or more, each counted; found {sums.shape} and {counts.shape}")
    sign = 1.0 if minimize else -1.0
    whole = sums.sum(axis=1) / counts.sum(axis=1)
    drawn = resampled_ratios(sums, counts, resamples, seed)
    best = np.argmin(sign * drawn, axis=1)
    flattered = sign * (whole - drawn)
    gained = flattered[np.arange(resamples), best] - flattered.mean(axis=1)
    return Optimism(float(gained.mean()), float((best == np.argmin(sign * whole)).mean()))


def resampled_ratios(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """The ratios of totals (resamples, recipes) over rows drawn anew, the same rows for every recipe.

    `sums` and `counts` are (recipes, rows). A draw is how often it has each row, so that what is in memory
    does not grow with the recipes, and the sums do not depend on the number of threads.
    """
    rows, random = sums.shape[1], np.random.default_rng(seed)
    at_once = max(1, PLACES // rows)
    found = []
    for start in range(0, resamples, at_once):
        draws = random.integers(rows, size=(min(at_once, resamples - start), rows))
        draws += rows * np.arange(len(draws))[:, None]
        times = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape).astype(np.float64)
        found.append(np.einsum("dr,mr->dm", times, sums) / np.einsum("dr,mr->dm", times, counts))
    return np.concatenate(found)


def ratio_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """The ratio of totals over rows (rows,), and its 95% interval.

    Student's t on the residuals of the rows (Cochran, Sampling Techniques, 1977, chapter 6). Raises
    ValueError for fewer than two rows.
    """
    rows, whole = sums.size, counts.sum()
    if rows < 2:
        raise ValueError(f"expected two rows or more; found {rows}")
    ratio = float(sums.sum() / whole)
    error = math.sqrt(np.square(sums - ratio * counts).sum() * rows / (rows - 1)) / whole
    half = float(-stdtrit(rows - 1, TAIL)) * error
    return ratio, ratio - half, ratio + half
