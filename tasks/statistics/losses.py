"""What two recipes' losses on the same text show: a paired difference over parts of the text, and over seeds.

A loss has no upper bound, so that the interval of scores (bounded.py) does not hold here. The text is cut
into parts (documents, or stretches of one); the difference of the mean losses a token is a ratio of sums over
parts, whose standard error is that of the parts' residuals (Cochran, Sampling Techniques, 1977, chapter 6),
and Student's t takes a degree of freedom less than there are parts. What the trainings add is joined with it
as for scores (seeds.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from tasks.statistics.bounded import TAIL
from tasks.statistics.seeds import TrainingsPart

LEAST_TAIL = 1e-12  # p-values are not told apart below


@dataclass(frozen=True)
class LossDifference:
    """What B's mean loss a token exceeds A's by, in the unit of the losses; positive: A is better."""

    difference: float
    low: float
    high: float
    """The 95% interval over the text and the trainings; of one seed each over the text alone."""
    p: float
    """Two-sided; at most 5% exactly where the interval does not hold 0."""
    text_low: float
    text_high: float
    """The same over the text alone, for these very trainings."""
    by_seed: tuple[float, ...]
    """Of paired seeds each one's difference; else nothing."""


def difference_of_losses(
    a: np.ndarray, b: np.ndarray, tokens: np.ndarray, paired_seeds: bool
) -> LossDifference:
    """How much lower A's mean loss a token is than B's, and what that shows.

    `a` and `b` (seeds, parts) are losses, summed over the tokens of each part; `tokens` (parts,) counts
    those. `paired_seeds` says that seed i of both saw the same data in the same order.

    Raises ValueError for fewer than two parts, and for paired seeds of which there are not as many of both.
    """
    if tokens.size < 2 or a.shape[1:] != tokens.shape or b.shape[1:] != tokens.shape:
        raise ValueError(f"expected losses of two parts of a text or more; found {tokens.size}")
    if paired_seeds and len(a) != len(b):
        raise ValueError(f"paired seeds are as many of both; found {len(a)} and {len(b)}")
    whole = tokens.sum()
    gained = b.mean(axis=0) - a.mean(axis=0)
    difference = float(gained.sum() / whole)
    residuals = gained - difference * tokens
    of_text = TrainingsPart(
        math.sqrt(np.square(residuals).sum() * tokens.size / (tokens.size - 1)) / whole, tokens.size - 1
    )
    means_a, means_b = a.sum(axis=1) / whole, b.sum(axis=1) / whole
    by_seed = means_b - means_a if paired_seeds else np.empty(0)
    drawn = [by_seed] if paired_seeds else [means_a, means_b]
    parts = [of_text, *map(TrainingsPart.of, drawn)]

    def half(tail: float) -> float:
        return math.hypot(*(part.half_width(tail) for part in parts))

    wide, narrow = half(TAIL), of_text.half_width(TAIL)
    return LossDifference(
        difference,
        difference - wide,
        difference + wide,
        2.0 * _tail_at(abs(difference), half),
        difference - narrow,
        difference + narrow,
        tuple(by_seed.tolist()),
    )


def _tail_at(distance: float, half: Callable[[float], float]) -> float:
    """The one-sided tail whose interval ends at so great a distance from its middle."""
    if distance == 0.0 or half(0.5 - LEAST_TAIL) >= distance:
        return 0.5
    if half(LEAST_TAIL) <= distance:
        return LEAST_TAIL
    found = brentq(
        lambda log: half(math.exp(log)) - distance, math.log(LEAST_TAIL), math.log(0.5 - LEAST_TAIL)
    )
    return math.exp(found)
