"""What `tasks/statistics/comparing.py` promises: p-values as rare as they say."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, permutation_test

from tasks.statistics import comparing
from tasks.statistics.comparing import difference_bounds, outcomes, sign_flip_test, smallest_detectable

few = st.lists(st.integers(-6, 6).map(lambda tenths: tenths / 10), max_size=9)
many = st.lists(st.integers(-1000, 1000).map(lambda tenths: tenths / 10), min_size=17, max_size=40)
partly_missing = st.tuples(st.none() | st.floats(0, 100), st.none() | st.floats(0, 100))


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([], 1.0),
        ([0.0, 0.0], 1.0),
        ([3.0], 1.0),
        ([1.0, 2.0], 0.5),
        ([1.0, 2.0, 0.0, 0.0], 0.5),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2 / 32),
        ([1.0, 1.0, 1.0, -1.0], 10 / 16),
        ([4.0, 3.0, -1.0], 4 / 8),  # sums of 8, 6, 2, 0 to either side: two reach 6
    ],
)
def test_p_values_by_hand(differences, p_value):
    assert sign_flip_test(differences, 1, 1) == p_value


def test_sums_that_are_equal_but_for_rounding_count_as_equal():
    """Regression: 0.1 + 0.2 is not 0.3, so that signs as extreme as these were not counted."""
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert sign_flip_test([0.1, 0.2, -0.3], 1, 1) == 1.0
    assert sign_flip_test([0.3, 0.2, -0.1, 0.7], 1, 1) == sign_flip_test([3, 2, -1, 7], 1, 1) == 0.25


@settings(max_examples=40)
@given(differences=few.filter(lambda differences: len(differences) > 1))
def test_few_differences_are_tried_in_full_as_by_scipy(differences):
    sample = np.round(np.array(differences) * 10)  # whole numbers, whose sums are exact
    expected = permutation_test((sample,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_test(differences, 1, 1) == pytest.approx(expected)


def test_many_differences_are_drawn_and_agree_with_all_of_them(monkeypatch):
    differences = np.random.default_rng(3).normal(0.8, 1, 14)
    exact = sign_flip_test(differences, 1, 1)
    monkeypatch.setattr(comparing, "ENUMERATED", 0)
    assert 0.05 < exact < 0.5
    assert sign_flip_test(differences, 20_000, 1) == pytest.approx(exact, abs=0.012)


def test_a_drawn_p_value_is_never_zero():
    """Regression: without the observed choice of signs among those drawn, 0 of 99 was a p-value of 0."""
    assert sign_flip_test([1.0] * 40, 99, 1) == 1 / 100
    assert sign_flip_test([1.0, -1.0] * 20, 99, 1) == 1.0


def test_memory_is_bounded_however_many_permutations(monkeypatch):
    differences = np.random.default_rng(4).normal(0.2, 1, 50)
    whole = sign_flip_test(differences, 2000, 1)
    monkeypatch.setattr(comparing, "DRAWS_AT_ONCE", 150)  # three choices of signs at once
    assert sign_flip_test(differences, 2000, 1) == pytest.approx(whole, abs=0.05)


@given(differences=few | many, zeros=st.integers(0, 5), data=st.data())
def test_a_p_value_knows_neither_side_nor_unit_nor_zeros(differences, zeros, data):
    value = sign_flip_test(differences, 99, 1)
    assert 0.0 < value <= 1.0
    assert sign_flip_test([-d for d in differences], 99, 1) == value
    assert sign_flip_test([4 * d for d in differences], 99, 1) == value
    assert sign_flip_test([*differences, *([0.0] * zeros)], 99, 1) == value
    if len(differences) <= 16:
        assert sign_flip_test(data.draw(st.permutations(differences)), 99, 2) == pytest.approx(value)


def test_an_exact_p_value_is_as_rare_under_no_difference_as_it_says():
    sizes = [0.5, 1.0, 1.5, 3.0, 4.0, 7.5, 8.0]
    flips = [np.array(signs) * sizes for signs in product([-1, 1], repeat=len(sizes))]
    values = np.array([sign_flip_test(differences, 1, 1) for differences in flips])
    for value in np.unique(values):
        assert np.mean(values <= value) == value


def test_drawn_p_values_are_uniform_under_no_difference():
    generator = np.random.default_rng(9)
    values = [sign_flip_test(generator.normal(0, 1, 25), 199, seed) for seed in range(400)]
    assert kstest(values, "uniform").pvalue > 0.01
    shifted = [sign_flip_test(generator.normal(0.5, 1, 25), 199, seed) for seed in range(400)]
    assert kstest(shifted, "uniform").pvalue < 1e-9


@pytest.mark.parametrize(("differences", "permutations"), [([math.nan], 9), ([1.0, math.inf], 9), ([1.0], 0)])
def test_no_test_of_what_is_no_number_or_without_permutations(differences, permutations):
    with pytest.raises(ValueError, match="finite differences"):
        sign_flip_test(differences, permutations, 1)


def test_the_smallest_detectable_difference_by_hand():
    """Standard deviation 2 over 16 rows, so an error of 0.5; 1.959964 + 0.841621 of them."""
    differences = [5 + 2 * math.sqrt(15 / 16) * sign for sign in [-1, 1] * 8]
    assert smallest_detectable(differences) == pytest.approx(1.4007925)
    assert smallest_detectable(differences, power=0.5) == pytest.approx(0.979982)


def test_a_difference_of_that_size_is_detected_as_often_as_promised():
    generator = np.random.default_rng(2)
    size = smallest_detectable(generator.normal(0, 1, 200_000)) * math.sqrt(200_000 / 40)
    found = [sign_flip_test(generator.normal(size, 1, 40), 199, seed) <= 0.05 for seed in range(400)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


@given(differences=many, shift=st.integers(-50, 50))
def test_what_is_detectable_goes_with_the_spread_alone(differences, shift):
    size = smallest_detectable(differences)
    if size is not None:
        assert size > 0
        assert smallest_detectable([d + shift for d in differences]) == pytest.approx(size, abs=1e-9)
        assert smallest_detectable([-3 * d for d in differences]) == pytest.approx(3 * size)
        assert smallest_detectable(differences * 4) < size
        assert smallest_detectable(differences, power=0.9) > size


@pytest.mark.parametrize("differences", [[], [3.0], [0.1, 0.1, 0.1]])
def test_without_a_spread_nothing_is_known_to_be_detectable(differences):
    assert smallest_detectable(differences) is None


@pytest.mark.parametrize(("differences", "power"), [([1.0, math.nan], 0.8), ([1.0, 2.0], 1.0)])
def test_nothing_is_detected_with_certainty_or_among_no_numbers(differences, power):
    with pytest.raises(ValueError, match="power between 0 and 1"):
        smallest_detectable(differences, power)


def test_outcomes_by_hand():
    found = outcomes([3.0, 1.0, 0.0, -1.0, -2.0, -5.0, 0.5, -0.5], tie=1.0)
    assert [found.wins.count, found.ties.count, found.losses.count] == [1, 5, 2]
    assert [found.wins.share, found.ties.share, found.losses.share] == [0.125, 0.625, 0.25]
    assert (found.losses.low, found.losses.high) == pytest.approx((0.0715, 0.5907), abs=5e-5)


@given(differences=few.filter(len) | many, tie=st.floats(0, 3))
def test_every_row_is_won_tied_or_lost_and_swapping_turns_them_round(differences, tie):
    found = outcomes(differences, tie)
    three = (found.wins, found.ties, found.losses)
    assert sum(outcome.count for outcome in three) == len(differences)
    assert all(0 <= outcome.low <= outcome.share <= outcome.high <= 1 for outcome in three)
    swapped = outcomes([-d for d in differences], tie)
    assert (swapped.wins, swapped.ties, swapped.losses) == (found.losses, found.ties, found.wins)
    assert outcomes(differences, tie + 1).ties.count >= found.ties.count


@pytest.mark.parametrize(("differences", "tie"), [([], 0.0), ([math.nan], 0.0), ([1.0], -1.0)])
def test_no_outcomes_of_nothing_or_with_a_negative_tie(differences, tie):
    with pytest.raises(ValueError, match="needed are differences"):
        outcomes(differences, tie)


def test_bounds_of_a_difference_by_hand():
    assert difference_bounds([80.0, None, 50.0, None], [60.0, 70.0, None, None]) == (-50.0, 50.0)
    assert difference_bounds([4.0, None], [2.0, 3.0], low=1.0, high=5.0) == (0.0, 2.0)


@given(pairs=st.lists(partly_missing, min_size=1, max_size=30), data=st.data())
def test_whatever_was_missing_the_bounds_hold_the_difference(pairs, data):
    a, b = zip(*pairs, strict=True)
    full = [[data.draw(st.floats(0, 100)) if x is None else x for x in scores] for scores in (a, b)]
    low, high = difference_bounds(a, b)
    assert low - 1e-9 <= np.subtract(*full).mean() <= high + 1e-9
    assert difference_bounds(b, a) == pytest.approx((-high, -low))
    missing = sum(score is None for score in a + b)
    assert high - low == pytest.approx(100 * missing / len(pairs))


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0])])
def test_bounds_are_of_the_same_rows(a, b):
    with pytest.raises(ValueError, match="same rows"):
        difference_bounds(a, b)
