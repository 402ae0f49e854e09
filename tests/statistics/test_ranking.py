"""What `tasks/statistics/ranking.py` promises: what orders tell, and how surely."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm, rankdata, spearmanr

from tasks.statistics.ranking import auc, auc_interval, average_ranks, spearman, spearman_interval

few_steps = st.integers(0, 5).map(float)
scores = st.lists(
    few_steps | st.integers(-800, 800).map(lambda eighths: eighths / 8), min_size=1, max_size=30
)
columns = st.lists(st.tuples(few_steps, few_steps), min_size=3, max_size=30)
rows = st.integers(1, 500)
areas = st.floats(0, 1)


@pytest.mark.parametrize(
    ("good", "bad", "area"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 3], [2, 4], 0.25),
        ([5], [5], 0.5),
        ([2, 2, 3], [1, 2], 5 / 6),  # four pairs won, two tied
        ([math.inf], [-math.inf, 1e308], 1.0),
    ],
)
def test_areas_by_hand(good, bad, area):
    assert auc(good, bad) == area


@given(good=scores, bad=scores)
def test_an_area_is_mann_whitneys_statistic_over_the_pairs(good, bad):
    pairs = len(good) * len(bad)
    assert auc(good, bad) == pytest.approx(mannwhitneyu(good, bad).statistic / pairs, abs=1e-12)


@given(good=scores, bad=scores)
def test_swapping_kinds_turns_the_area_and_order_alone_counts(good, bad):
    area = auc(good, bad)
    assert 0.0 <= area <= 1.0
    assert auc(bad, good) == pytest.approx(1 - area)
    assert auc(good[::-1], bad[::-1]) == area
    assert auc([8 * score for score in good], [8 * score for score in bad]) == area
    assert auc(np.arctan(good), np.arctan(bad)) == pytest.approx(area)


def test_a_large_ranking_needs_no_memory_for_its_pairs():
    generator = np.random.default_rng(0)
    good, bad = generator.normal(1, 1, 200_000), generator.normal(0, 1, 200_000)
    assert auc(good, bad) == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.005)


@pytest.mark.parametrize(("good", "bad"), [([], [1.0]), ([1.0], [])])
def test_no_area_of_one_kind_alone(good, bad):
    with pytest.raises(ValueError, match="both kinds"):
        auc(good, bad)


def test_what_is_not_a_number_has_no_rank():
    for ranking in (lambda: auc([math.nan], [1.0]), lambda: spearman([1, 2, math.nan], [1, 2, 3])):
        with pytest.raises(ValueError, match="has no rank"):
            ranking()


def test_an_interval_of_newcombes_fifth_method():
    """The example of the R package SingleCaseES, whose interval is that method: 0.597 to 0.986."""
    value = auc([28, 25, 24, 27, 30, 30, 29], [20, 20, 26, 25, 22, 23])
    assert value == pytest.approx(11 / 12)
    assert auc_interval(value, 7, 6) == pytest.approx((0.5973193600, 0.9859976894), abs=1e-9)


def test_a_perfect_ranking_of_few_rows_is_not_certain():
    """Regression: with the error taken at the area itself, two rows in order proved a scorer."""
    assert auc_interval(1.0, 1, 1) == pytest.approx((1 / (1 + 1.959964**2), 1.0), abs=1e-6)
    assert auc_interval(0.0, 1, 1) == pytest.approx((0.0, 1 - 1 / (1 + 1.959964**2)), abs=1e-6)
    low, high = auc_interval(1.0, 20, 20)
    assert (0.8 < low < 0.95, high) == (True, 1.0)


@given(value=areas, goods=rows, bads=rows)
def test_area_lies_in_its_interval_which_has_width_and_mirror(value, goods, bads):
    low, high = auc_interval(value, goods, bads)
    assert 0.0 <= low <= value <= high <= 1.0
    assert low < high
    assert auc_interval(1 - value, goods, bads) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert auc_interval(value, bads, goods) == (low, high)


@given(value=areas, goods=rows, bads=rows, more=st.integers(1, 100))
def test_more_rows_never_widen_an_areas_interval(value, goods, bads, more):
    low, high = auc_interval(value, goods, bads)
    narrower = auc_interval(value, goods + more, bads + more)
    assert low - 1e-9 <= narrower[0]
    assert narrower[1] <= high + 1e-9


@pytest.mark.parametrize(("goods", "bads"), [(12, 12), (8, 30)])
@pytest.mark.parametrize("area", [0.5, 0.8, 0.97])
def test_intervals_hold_the_true_area_about_as_often_as_they_say(area, goods, bads):
    generator = np.random.default_rng(5)
    shift = math.sqrt(2) * norm.ppf(area)
    held = 0
    for _ in range(500):
        value = auc(generator.normal(shift, 1, goods), generator.normal(0, 1, bads))
        low, high = auc_interval(value, goods, bads)
        held += low <= area <= high
    assert 0.92 <= held / 500 <= 0.995


@pytest.mark.parametrize(
    ("value", "goods", "bads"), [(0.5, 0, 3), (0.5, 3, 0), (1.1, 3, 3), (math.nan, 3, 3)]
)
def test_no_interval_of_what_is_no_area(value, goods, bads):
    with pytest.raises(ValueError, match="0 to 1"):
        auc_interval(value, goods, bads)


@given(values=st.lists(few_steps | st.floats(-100, 100), max_size=40))
def test_equal_values_share_the_average_of_their_places(values):
    assert average_ranks(values).tolist() == rankdata(values).tolist()


@given(pairs=columns)
def test_a_rank_correlation_is_scipys(pairs):
    a, b = zip(*pairs, strict=True)
    value = spearman(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert value is None
    else:
        assert value == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


@given(pairs=columns)
def test_rank_correlation_is_symmetric_and_turns_with_the_order(pairs):
    a, b = zip(*pairs, strict=True)
    value = spearman(a, b)
    if value is not None:
        assert -1.0 <= value <= 1.0
        assert spearman(b, a) == value
        assert spearman([7 * x + 100 for x in a], b) == value
        assert spearman([-x for x in a], b) == pytest.approx(-value)
        assert spearman(a, a) == 1.0


def test_too_few_values_or_no_variation_is_no_order():
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 2, 3], [0.1, 0.1, 0.1]) is None
    assert spearman([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="found 3 and 2"):
        spearman([1, 2, 3], [1, 2])


def test_a_rank_correlations_interval_by_hand():
    """The transformation of 0.5 is 0.549306, and the error over 20 rows sqrt(1.125 / 17) = 0.257248."""
    half = 1.959964 * 0.257248
    expected = math.tanh(0.549306 - half), math.tanh(0.549306 + half)
    assert spearman_interval(0.5, 20) == pytest.approx(expected, abs=1e-5)
    assert spearman_interval(0.5, 3) is None
    with pytest.raises(ValueError, match="-1 to 1"):
        spearman_interval(1.01, 10)


def test_the_same_order_of_few_rows_is_not_certain():
    """Regression: the transformation of 1 is infinite, and four rows in the same order showed certainty."""
    low, high = spearman_interval(1.0, 4)
    assert (low < 0.0, high) == (True, 1.0)
    assert spearman_interval(-1.0, 4) == (-1.0, -low)
    assert 0.9 < spearman_interval(1.0, 10)[0] < 0.95
    assert 0.999 < spearman_interval(1.0, 10**6)[0] < 1.0  # the swap of two is lost to rounding


@given(value=st.floats(-1, 1) | st.floats(0.99, 1), count=st.integers(4, 1000), more=st.integers(1, 100))
def test_correlation_lies_in_an_interval_that_rows_never_widen(value, count, more):
    low, high = spearman_interval(value, count)
    assert -1.0 <= low <= value <= high <= 1.0
    assert low < high
    assert spearman_interval(-value, count) == pytest.approx((-high, -low))
    narrower = spearman_interval(value, count + more)
    assert low - 1e-9 <= narrower[0]
    assert narrower[1] <= high + 1e-9
