"""What `tasks/statistics/intervals.py` promises: intervals no narrower than is due."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.statistics import intervals
from tasks.statistics.intervals import bootstrap_interval, cautious_interval, wilson_interval

scores = st.lists(st.floats(0, 100), min_size=1, max_size=40)


@given(values=scores, resamples=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_the_interval_holds_the_mean_and_stays_within_the_data(values, resamples, seed):
    mean, low, high = bootstrap_interval(values, resamples, seed)
    assert low <= mean <= high
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert mean == pytest.approx(math.fsum(values) / len(values))


@given(value=st.floats(0, 100), count=st.integers(1, 50))
def test_resampled_equal_scores_have_an_interval_of_no_width(value, count):
    assert bootstrap_interval([value] * count, 100, 1) == (value, value, value)


@given(values=scores, seed=st.integers(0, 1000))
def test_a_seed_decides_the_interval(values, seed):
    assert bootstrap_interval(values, 100, seed) == bootstrap_interval(values, 100, seed)


def test_the_interval_agrees_with_the_normal_one_on_many_rows():
    values = np.random.default_rng(0).normal(50, 10, 400)
    mean, low, high = bootstrap_interval(values, 10_000, 123)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1)


def test_memory_is_bounded_however_many_resamples(monkeypatch):
    values = list(range(50))
    whole = bootstrap_interval(values, 1000, 7)
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 200)  # four resamples at once
    assert bootstrap_interval(values, 1000, 7) == pytest.approx(whole, abs=1.5)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_interval_of_nothing_or_of_no_number(values):
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval(values, 10, 1)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_of_newcombes_table(count, of, low, high):
    """Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3."""
    assert wilson_interval(count, of) == pytest.approx((low, high), abs=5e-5)


@given(of=st.integers(1, 10**6), data=st.data())
def test_wilson_interval_holds_the_share_and_is_mirrored(of, data):
    count = data.draw(st.integers(0, of))
    low, high = wilson_interval(count, of)
    assert 0.0 <= low <= count / of <= high <= 1.0
    assert low < high
    assert wilson_interval(of - count, of) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("count", "of"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_has_no_interval(count, of):
    with pytest.raises(ValueError, match="at least one row"):
        wilson_interval(count, of)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.8, 0.97])
def test_wilson_intervals_hold_the_share_as_often_as_they_say(share):
    """The coverage is reckoned exactly; where none is counted, that of share +- error would be 0."""
    counts = range(61)
    held = [low <= share <= high for low, high in (wilson_interval(count, 60) for count in counts)]
    assert 0.92 <= binom.pmf(counts, 60, share)[held].sum() <= 0.99


@pytest.mark.parametrize("count", range(3, 41))
def test_equal_values_reach_as_far_as_the_rule_of_three(count):
    """Regression: five equal differences had an interval of no width, and seemed certain."""
    mean, low, high = cautious_interval([80.0] * count, -20.0, 10_000, 1)
    assert (mean, high) == (80.0, 80.0)
    assert low == pytest.approx(80 - 100 * 3 / (count + 1))
    mirrored = cautious_interval([-80.0] * count, 20.0, 10_000, 1)
    assert mirrored == pytest.approx((-80, -80, -80 + 100 * 3 / (count + 1)))


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_values_show_nothing_against_the_worst(count):
    assert cautious_interval([80.0] * count, 0.0, 10_000, 1) == (80.0, 0.0, 80.0)


@given(values=scores, worst=st.sampled_from([-5.0, 0.0, 100.0, 130.0]), seed=st.integers(0, 999))
def test_cautious_interval_widens_the_plain_towards_the_worst(values, worst, seed):
    mean, low, high = bootstrap_interval(values, 200, seed)
    cautious_mean, cautious_low, cautious_high = cautious_interval(values, worst, 200, seed)
    assert cautious_mean == mean
    if worst <= min(values):
        assert (cautious_high, worst <= cautious_low <= low) == (high, True)
    else:
        assert (cautious_low, high <= cautious_high <= worst) == (low, True)


@given(values=scores, seed=st.integers(0, 999))
def test_cautious_interval_of_opposite_scores_is_mirrored(values, seed):
    mean, low, high = cautious_interval(values, 0.0, 200, seed)
    mirrored = cautious_interval([100 - value for value in values], 100.0, 200, seed)
    assert mirrored == pytest.approx((100 - mean, 100 - high, 100 - low), abs=1e-9)


def test_one_row_more_hardly_matters_to_many():
    values = np.random.default_rng(0).uniform(40, 60, 2000)
    plain = bootstrap_interval(values, 2000, 1)
    assert cautious_interval(values, 0.0, 2000, 1) == pytest.approx(plain, abs=0.1)


@pytest.mark.parametrize("worst", [50.0, math.nan])
def test_the_worst_value_is_an_end(worst):
    with pytest.raises(ValueError, match="at an end"):
        cautious_interval([0.0, 100.0], worst, 10, 1)
