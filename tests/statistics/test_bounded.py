"""What `tasks/statistics/bounded.py` promises: intervals with a width, and p-values that agree with them."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from tasks.statistics.bounded import (
    bounded_chance,
    bounded_interval,
    mean_interval,
    perplexity_interval,
    unbounded_interval,
)

scores = st.lists(st.floats(0, 100), min_size=1, max_size=25)
few = st.lists(st.integers(0, 5).map(lambda step: 20.0 * step), min_size=1, max_size=25)
TEN = [float(value) for value in (1, 9, 2, 8, 3, 7, 4, 6, 5, 10)]
FOURS = [str(place) for place in range(10) for _ in range(4)]


# Against what is known


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 2), (5, 5), (12, 12), (1, 30), (60, 110), (3, 1000)])
def test_of_right_and_wrong_it_is_clopper_and_pearsons(right, of):
    _, low, high = bounded_interval([100.0] * right + [0.0] * (of - right), 0, 100)
    expected_low = 100 * beta.ppf(0.025, right, of - right + 1) if right else 0.0
    expected_high = 100 * beta.ppf(0.975, right + 1, of - right) if right < of else 100.0
    assert (low, high) == pytest.approx((expected_low, expected_high), abs=1e-4)


@pytest.mark.parametrize(
    ("won", "lost", "tied"), [(6, 0, 40), (9, 1, 30), (3, 3, 0), (61, 100, 5), (0, 0, 9)]
)
def test_of_right_and_wrong_pairs_it_is_mcnemars(won, lost, tied):
    differences = np.array([100.0] * won + [-100.0] * lost + [0.0] * tied)
    either = [bounded_chance(sign * differences, -100, 100) for sign in (1, -1)]
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert min(1.0, 2 * min(either)) == pytest.approx(expected, rel=1e-9)


def test_bound_is_the_quantile_of_randomly_weighted_means():
    values = np.random.default_rng(1).uniform(20, 60, 7)
    weights = np.random.default_rng(2).exponential(size=(200_000, 8))
    weights /= weights.sum(axis=1, keepdims=True)
    _, low, high = bounded_interval(values, 0, 100)
    assert low == pytest.approx(np.quantile(weights @ np.append(values, 0), 0.025), abs=0.2)
    assert high == pytest.approx(np.quantile(weights @ np.append(values, 100), 0.975), abs=0.2)


def test_of_many_rows_it_is_the_normal_one():
    values = np.random.default_rng(0).normal(50, 10, 4000)
    mean, low, high = bounded_interval(values, 0, 100)
    half = 1.96 * values.std() / 4000**0.5
    assert (mean, low, high) == pytest.approx((values.mean(), mean - half, mean + half), abs=0.03)


# A width, whatever the values


@pytest.mark.parametrize("count", [1, 2, 5, 12, 110])
@pytest.mark.parametrize("value", [0.0, 37.0, 100.0])
def test_pitfall_34_equal_scores_have_an_interval_with_a_width(count, value):
    """Regression: 12 of 12 right were 100 to 100, and five equal differences were certain."""
    mean, low, high = mean_interval([value] * count, 0, 100)
    assert mean == value
    assert low < high
    assert 0 <= low <= value <= high <= 100
    ends = unbounded_interval([int(value)] * count), perplexity_interval([value / 50] * count, [9] * count)
    assert all(low < high and low <= mean <= high for mean, low, high in ends)


def test_pitfall_34_twelve_of_twelve_is_wilsons():
    mean, low, high = mean_interval([100.0] * 12, 0, 100)
    assert (mean, round(low, 1), high) == (100.0, 75.8, 100.0)
    assert mean_interval([1.0] * 12, 0, 1) == pytest.approx((1.0, low / 100, 1.0))


def test_five_rows_each_one_point_better_show_nothing():
    """Regression: the interval was 1 to 1."""
    _, low, high = bounded_interval([1.0] * 5, -100, 100)
    assert low == pytest.approx(1 - 101 * (1 - 0.025 ** (1 / 5)))
    assert high > 1


@given(values=scores | few)
@example(values=[1e-300, 0.0])
@example(values=[5e-324])
@example(values=[100.0, 1e-12])
def test_it_holds_the_mean_has_a_width_stays_within_and_mirrors(values):
    mean, low, high = bounded_interval(values, 0, 100)
    assert mean == pytest.approx(math.fsum(values) / len(values))
    assert 0 <= low <= mean <= high <= 100
    assert high - low > 1
    mirrored = bounded_interval([100 - value for value in values], 0, 100)
    assert mirrored == pytest.approx((100 - mean, 100 - high, 100 - low), abs=1e-5)


@settings(max_examples=60)
@given(values=scores | few, mean=st.floats(1, 99))
def test_p_value_is_small_only_where_the_interval_lies_above(values, mean):
    _, low, _ = bounded_interval(values, 0, 100)
    if abs(low - mean) > 1e-4:
        assert (bounded_chance(values, 0, 100, mean) <= 0.025) == (low > mean)


# Sources


def test_pitfall_38_copies_of_a_row_make_no_interval_narrower():
    once = bounded_interval(TEN, 0, 100)
    assert bounded_interval(np.repeat(TEN, 4), 0, 100, FOURS) == pytest.approx(once)
    alone = bounded_interval(np.repeat(TEN, 4), 0, 100)
    assert alone[2] - alone[1] < 0.6 * (once[2] - once[1])
    chances = [
        bounded_chance(values, -100, 100, 0.0, of) for values, of in ((TEN, ()), (np.repeat(TEN, 4), FOURS))
    ]
    assert chances[1] == pytest.approx(chances[0])
    lengths = unbounded_interval(np.repeat(TEN, 4), FOURS)
    assert lengths == pytest.approx(unbounded_interval(TEN))
    losses = np.array(TEN) / 10
    assert perplexity_interval(np.repeat(losses, 4), [5] * 40, FOURS) == pytest.approx(
        perplexity_interval(losses, [20] * 10)
    )


def test_right_and_wrong_rows_that_share_sources_are_not_wilsons():
    right = np.repeat([100.0] * 7 + [0.0] * 3, 4)
    assert mean_interval(right, 0, 100, FOURS) == pytest.approx(
        bounded_interval([100.0] * 7 + [0.0] * 3, 0, 100)
    )
    names = [str(place) for place in range(40)]
    assert (
        mean_interval(right, 0, 100, names) == mean_interval(right, 0, 100) != bounded_interval(right, 0, 100)
    )


def test_mean_is_that_of_the_rows_where_sources_differ_in_size():
    values, names = [10.0] * 5 + [50.0], ["a"] * 5 + ["b"]
    mean, low, high = bounded_interval(values, 0, 100, names)
    assert mean == pytest.approx(100 / 6)
    assert low < 10
    assert high > 50


def test_as_many_sources_as_values_are_needed():
    with pytest.raises(ValueError, match="2 sources of 3 values"):
        bounded_interval([1.0, 2.0, 3.0], 0, 100, ["a", "a"])


# Lengths and perplexities


losses = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 500)), min_size=1, max_size=20)


@given(rows=losses)
def test_a_perplexity_is_that_of_all_tokens(rows):
    values, tokens = zip(*rows, strict=True)
    perplexity, low, high = perplexity_interval(values, tokens)
    total = math.fsum(loss * count for loss, count in rows)
    assert perplexity == pytest.approx(math.exp(total / sum(tokens)))
    assert 1 <= low <= perplexity <= high
    assert low < high


def test_lengths_end_at_0_and_have_no_other_end():
    mean, low, high = unbounded_interval([5] * 12)
    assert (mean, low, high) == pytest.approx((5, 5 * 0.025 ** (1 / 12), 10 - 5 * 0.025 ** (1 / 12)))


# What is refused


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [-0.1], [100.1]])
def test_no_interval_of_nothing_or_of_what_is_out_of_range(values):
    with pytest.raises(ValueError, match="at least one value, all from 0 to 100"):
        bounded_interval(values, 0, 100)


def test_a_score_above_the_end_by_rounding_is_the_end():
    assert bounded_interval([100.00000000000001] * 3, 0, 100) == bounded_interval([100.0] * 3, 0, 100)


def test_no_perplexity_of_nothing():
    with pytest.raises(ValueError, match="at least one row"):
        perplexity_interval([], [])


def test_memory_is_bounded_however_many_rows(monkeypatch):
    values = np.random.default_rng(3).uniform(0, 100, 500)
    whole = bounded_interval(values, 0, 100)
    monkeypatch.setattr("tasks.statistics.bounded.AT_ONCE", 7)
    assert bounded_interval(values, 0, 100) == pytest.approx(whole)
