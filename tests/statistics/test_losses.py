"""Losses of two recipes on the same text, against plain computations and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_rel

from tasks.statistics.losses import difference_of_losses

EQUAL = np.full(12, 10.0)


def drawn(seed, seeds=1, parts=12):
    """Sums of ten losses a part, of so many seeds."""
    return np.random.default_rng(seed).normal(20, 2, size=(seeds, parts))


def test_of_one_seed_and_equal_parts_it_is_the_paired_t_test():
    a, b = drawn(1), drawn(2)
    found = difference_of_losses(a, b, EQUAL, paired_seeds=False)
    expected = ttest_rel(b[0] / 10, a[0] / 10)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.low, found.high) == (found.text_low, found.text_high)


def test_long_part_weighs_as_many_tokens_as_it_has():
    a, tokens = np.array([[10.0, 300.0]]), np.array([10.0, 100.0])
    found = difference_of_losses(a, a + np.array([[1.0, 0.0]]), tokens, paired_seeds=True)
    assert found.difference == pytest.approx(1 / 110)


@pytest.mark.parametrize("paired", [True, False])
def test_trainings_widen_the_interval_as_plainly_computed(paired):
    a, b = drawn(3, seeds=3), drawn(4, seeds=3)
    found = difference_of_losses(a, b, EQUAL, paired)
    of_text = found.text_high - found.difference
    means = [own.mean(axis=1) / 10 for own in (a, b)]
    drawn_by = [means[1] - means[0]] if paired else means
    halves = [student.ppf(0.975, 2) * own.std(ddof=1) / math.sqrt(3) for own in drawn_by]
    assert found.high - found.difference == pytest.approx(math.hypot(of_text, *halves))
    assert len(found.by_seed) == (3 if paired else 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans(), st.floats(-3, 3))
def test_p_is_at_most_5_percent_iff_interval_excludes_0(seed, seeds, paired, shift):
    a, b = drawn(seed, seeds), drawn(seed + 1, seeds) + shift
    found = difference_of_losses(a, b, EQUAL, paired)
    if abs(found.p - 0.05) > 1e-9:
        assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)


def test_equal_recipes_are_rarely_told_apart():
    """Two seeds of one recipe, whose trainings differ by more than the text does."""
    draw = np.random.default_rng(5)
    wrong = 0
    for _ in range(400):
        a, b = (20 + draw.normal(0, 1, (3, 1)) + draw.normal(0, 1, (3, 12)) for _ in range(2))
        wrong += difference_of_losses(a, b, EQUAL, paired_seeds=False).p <= 0.05
    assert wrong <= 0.05 * 400


def test_equal_models_have_a_p_value_of_1():
    assert difference_of_losses(drawn(1), drawn(1), EQUAL, paired_seeds=True).p == 1.0


def test_one_part_and_unlike_seeds_are_refused():
    with pytest.raises(ValueError, match="two parts"):
        difference_of_losses(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), paired_seeds=False)
    with pytest.raises(ValueError, match="as many of both"):
        difference_of_losses(drawn(1, 2), drawn(1, 3), EQUAL, paired_seeds=True)
