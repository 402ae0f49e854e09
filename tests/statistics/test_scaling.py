"""The law by which loss falls with size: found where it holds, and no fit where sizes do not say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.scaling import fit_power_law, fit_power_laws, interval
from tasks.statistics.selection import resampled_ratios

SIZES = np.array([1e5, 3e5, 1e6, 4e6])


def law(floor, scale, alpha, sizes=SIZES):
    return floor + scale * sizes**-alpha


@given(st.floats(0.3, 2.0), st.floats(0.1, 0.9), st.integers(3, 4))
def test_fit_of_the_law_itself_is_that_law(floor, alpha, count):
    scale = 1e5**alpha
    sizes = SIZES[:count]
    found = fit_power_law(sizes, law(floor, scale, alpha, sizes))
    assert found.alpha == pytest.approx(alpha, abs=0.005)  # the grid's step
    assert found.at(4e7) == pytest.approx(floor + scale * 4e7**-alpha, rel=0.02)


@pytest.mark.parametrize(
    "losses",
    [
        [2.0, 2.0, 2.0, 2.0],
        [2.0, 2.1, 2.2, 2.3],
        [3.0, 2.9, 2.6, 1.9],  # it falls ever faster
    ],
)
def test_no_fit_of_losses_that_are_no_such_law(losses):
    assert fit_power_law(SIZES, np.array(losses)) is None


def test_fit_needs_as_many_models_as_numbers():
    with pytest.raises(ValueError, match="3 models or more"):
        fit_power_law(SIZES[:2], np.array([2.0, 1.0]))


def test_floor_is_never_negative():
    found = fit_power_law(SIZES, law(0.0, 1e5**0.4, 0.4) - np.array([0.0, 0.01, 0.02, 0.05]))
    assert found.floor >= 0.0


def test_interval_covers_the_law_in_most_simulated_texts():
    """Parts of a text that are hard for all models alike, and a little harder for one or another."""
    covered, trials = 0, 60
    truth = law(1.0, 1e5**0.4, 0.4)
    for seed in range(trials):
        random = np.random.default_rng(seed)
        hard = random.normal(0, 0.3, 200)
        sums = truth[:, None] + hard + random.normal(0, 0.05, (4, 200))
        draws = resampled_ratios(sums, np.ones_like(sums), 200, seed)
        low, high = interval(fit_power_laws(SIZES, draws)[:, 2])
        covered += low - 0.005 <= 0.4 <= high + 0.005
    assert covered >= 0.85 * trials


def test_interval_is_not_told_of_draws_without_a_fit():
    assert interval(np.array([1.0] * 80 + [np.nan] * 20)) is None
    assert interval(np.array([1.0] * 95 + [np.nan] * 5)) == (1.0, 1.0)
