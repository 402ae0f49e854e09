"""What `tasks/statistics/comparing.py` promises: what a difference shows, and no more."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.statistics.bounded import bounded_chance
from tasks.statistics.comparing import difference_bounds, outcomes, paired_test, smallest_detectable
from tasks.statistics.verdicts import shows

few = st.lists(st.integers(-6, 6).map(lambda tenths: tenths / 10), max_size=9)
many = st.lists(st.integers(-1000, 1000).map(lambda tenths: tenths / 10), min_size=17, max_size=40)
partly_missing = st.tuples(st.none() | st.floats(0, 100), st.none() | st.floats(0, 100))


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (6, 0, 2 / 64), (4, 1, 12 / 32)]
)
def test_p_values_by_hand(won, lost, p):
    """Of right and wrong answers: McNemar's, whatever the rows in which both are right."""
    ours = [100.0] * (won + 3) + [0.0] * lost
    theirs = [0.0] * won + [100.0] * (3 + lost)
    found = paired_test(ours, theirs)
    assert found.p == pytest.approx(p)
    assert (found.low > 0) == (p <= 0.05)


@given(pairs=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20))
@example(pairs=[(0.0, 3.679685538666936e-162)])
def test_swapping_the_pair_turns_difference_and_interval_round(pairs):
    ours, theirs = zip(*pairs, strict=True)
    found, back = paired_test(ours, theirs), paired_test(theirs, ours)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-found.difference, -found.high, -found.low), abs=1e-5
    )
    assert back.p == pytest.approx(found.p)
    assert found.low <= found.difference <= found.high
    assert found.high - found.low > 1
    verdict = shows(vars(found), found.p)
    assert (verdict == "better") == (found.low > 0)
    assert (verdict == "worse") == (found.high < 0)


def test_what_makes_a_row_hard_for_both_takes_no_part():
    hard = np.random.default_rng(0).uniform(0, 60, 110)
    found = paired_test(hard + 20, hard)
    assert found.difference == pytest.approx(20)
    assert found == paired_test([20.0] * 110, [0.0] * 110) or found.low == pytest.approx(16.04, abs=0.01)
    assert paired_test(hard, hard).p == 1.0


def test_pitfall_34_equal_differences_are_no_certainty():
    """Regression: five rows each one point better made a champion, by an interval of 1 to 1."""
    found = paired_test([51.0] * 5, [50.0] * 5)
    assert found.low < -50
    assert found.high > 1
    assert shows(vars(found), found.p) == "open"


scored = st.tuples(st.none() | st.integers(0, 100), st.none() | st.integers(0, 100))


@given(pairs=st.lists(scored, min_size=1, max_size=15), data=st.data())
def test_whatever_was_missing_the_test_would_not_have_shown_more(pairs, data):
    """The interval holds every one that the missing scores might have given."""
    ours, theirs = zip(*pairs, strict=True)
    found = paired_test(ours, theirs)
    if found is None:
        assert all(None in pair for pair in pairs)
        return
    full = [[data.draw(st.integers(0, 100)) if x is None else x for x in own] for own in (ours, theirs)]
    complete = paired_test(*full)
    assert found.low <= complete.low + 1e-5
    assert complete.high <= found.high + 1e-5
    assert found.low <= found.difference <= found.high
    if complete.p > 0.05:
        assert found.p > 0.05 - 1e-6


def test_missing_rows_that_might_undo_a_gain_leave_it_open():
    ours, theirs = [90.0] * 110, [70.0] * 110
    assert paired_test(ours, theirs).low > 0
    assert paired_test([None] * 18 + ours[18:], theirs).low < 0
    assert paired_test([None] * 18 + ours[18:], theirs).difference == 20


def test_pitfall_38_the_p_value_counts_sources_and_not_rows():
    """Five sources with four rows each, all won: 2 of 32 choices of signs are as far, not 2 of 2**20."""
    names = [str(place) for place in range(5) for _ in range(4)]
    assert paired_test([100.0] * 20, [0.0] * 20, names).p == pytest.approx(2 / 32)
    assert paired_test([100.0] * 20, [0.0] * 20).p == pytest.approx(2 / 2**20)


def test_scores_must_be_of_the_same_rows():
    with pytest.raises(ValueError, match="shorter"):
        paired_test([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (1, 3, 0.01, "better"),
        (-3, -1, 0.01, "worse"),
        (0, 4, 0.01, "open"),
        (1, 3, 0.125, "open"),
        (1, 3, None, "better"),
    ],
)
def test_pitfall_41_words_follow_the_p_value(low, high, p, verdict):
    """Also of numbers that were written before interval and p-value were of one test."""
    assert shows({"low": low, "high": high}, p) == verdict


def test_the_smallest_detectable_difference_by_hand():
    """Standard deviation 2 over 4,000 rows: 1.959964 + 0.841621 errors, and what one row of -100 takes."""
    differences = [2 * sign for sign in [-1, 1] * 2000]
    error = 2 / 4000**0.5
    assert 100 / 4000 < smallest_detectable(differences) - 2.801585 * error < 3 * 100 / 4000
    assert smallest_detectable(differences, power=0.5) == pytest.approx(
        smallest_detectable(differences) - 0.841621 * error, abs=1e-4
    )


def test_difference_of_that_size_is_found_as_often_as_promised():
    generator = np.random.default_rng(2)
    size = smallest_detectable(generator.normal(0, 15, 60))
    drawn = [np.clip(generator.normal(size, 15, 60), -100, 100) for _ in range(300)]
    found = [bounded_chance(sample, -100, 100) <= 0.025 for sample in drawn]
    assert np.mean(found) == pytest.approx(0.8, abs=0.15)


@given(differences=many, shift=st.integers(-50, 50))
def test_what_is_detectable_goes_with_the_spread_alone(differences, shift):
    size = smallest_detectable(differences)
    if size is not None:
        assert 0 < size <= 100
        assert smallest_detectable([d + shift for d in differences]) == pytest.approx(size, abs=1e-6)
        assert smallest_detectable(differences * 4) < size
        harder = smallest_detectable(differences, power=0.9)
        assert harder is None or harder > size


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
def test_every_row_is_won_tied_or_lost_and_swapping_mirrors_them(differences, tie):
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


def test_what_can_be_detected_follows_the_sources():
    """Pitfall 38: ten sources of four rows each tell what ten rows tell."""
    ten = [float(10 * value) for value in (1, 9, 2, 8, 3, 7, 4, 6, 5, 10)]
    names = [str(place) for place in range(10) for _ in range(4)]
    assert smallest_detectable(np.repeat(ten, 4), sources=names) == pytest.approx(smallest_detectable(ten))
