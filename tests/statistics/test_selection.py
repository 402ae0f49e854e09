"""How far the best of several flatters itself: known expectations, and simulated sweeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem, t

from tasks.statistics import selection
from tasks.statistics.selection import (
    largest_of,
    lead_of_noise,
    optimism,
    ratio_interval,
    resampled_ratios,
)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 0.0), (2, 0.5641896), (3, 0.8462844), (10, 1.5387527), (100, 2.5075936)]
)
def test_largest_of_normals_is_that_of_tables(count, expected):
    assert largest_of(count) == pytest.approx(expected, abs=1e-6)


def test_lead_of_noise_needs_two_and_has_their_unit():
    assert lead_of_noise([1.0]) is None
    assert lead_of_noise([0.0, 2.0]) == pytest.approx(0.5641896 * 2**0.5)


def simulated(quality, rows, noise, seed):
    """Sums of recipes whose rows differ by noise of their own, around rows that are hard for all."""
    random = np.random.default_rng(seed)
    hard = random.normal(0, 5, rows)
    return quality[:, None] + hard + random.normal(0, noise, (len(quality), rows))


@pytest.mark.parametrize("minimize", [True, False])
def test_optimism_of_equal_recipes_is_what_the_choice_gains(minimize):
    """Over many sweeps of equal recipes: the mean estimate against the mean of the true flattery."""
    estimated, true = [], []
    for seed in range(60):
        sums = simulated(np.zeros(8), 100, 1.0, seed)
        sign = 1 if minimize else -1
        hard = sums.mean(axis=0).mean()
        true.append(sign * (hard - (sums.mean(axis=1) * sign).min() * sign))
        found = optimism(sums, np.ones_like(sums), minimize=minimize, resamples=200, seed=seed)
        estimated.append(found.amount)
    assert np.mean(true) == pytest.approx(0.1 * largest_of(8), rel=0.2)
    assert 0.6 * np.mean(true) < np.mean(estimated) < 1.6 * np.mean(true)


def test_optimism_of_one_that_is_far_better_is_nearly_none():
    sums = simulated(np.array([0.0, 50.0, 50.0]), 100, 1.0, 0)
    found = optimism(sums, np.ones_like(sums), minimize=True, resamples=500)
    assert found.chosen_again == 1.0
    assert abs(found.amount) < 0.05


def test_optimism_weighs_rows_by_their_tokens():
    counts = np.array([[1.0, 1000.0], [1.0, 1000.0]])
    sums = np.array([[0.0, 2000.0], [9.0, 1000.0]])
    assert optimism(sums, counts, minimize=True, resamples=100).chosen_again == pytest.approx(0.75, abs=0.15)


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_resampled_ratios_are_of_the_rows_that_are_drawn(monkeypatch, at_once):
    monkeypatch.setattr(selection, "PLACES", 30 * at_once)
    random = np.random.default_rng(1)
    sums, counts = random.normal(2, 1, (3, 30)), random.integers(1, 9, (3, 30)).astype(float)
    drawn = np.random.default_rng(5).integers(30, size=(20, 30))
    expected = [[sums[one, own].sum() / counts[one, own].sum() for one in range(3)] for own in drawn]
    assert resampled_ratios(sums, counts, 20, 5) == pytest.approx(np.array(expected), rel=1e-12)


def test_optimism_of_one_row_is_refused():
    with pytest.raises(ValueError, match="two rows or more"):
        optimism(np.ones((2, 1)), np.ones((2, 1)), minimize=True, resamples=10)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40))
def test_ratio_interval_holds_the_mean_of_its_rows(values):
    mean, low, high = ratio_interval(np.array(values), np.ones(len(values)))
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert low <= mean + 1e-9
    assert high >= mean - 1e-9


def test_ratio_interval_of_equal_counts_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(3, 1, 7)
    expected = t.interval(0.95, 6, loc=values.mean(), scale=sem(values))
    assert ratio_interval(2 * values, np.full(7, 2.0))[1:] == pytest.approx(expected, rel=1e-9)
