"""What `tasks/statistics/agreement.py` promises: the published coefficients, and None where there is none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tasks.statistics.agreement import krippendorff_alpha, quadratic_kappa

CANONICAL = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
LEVELS = ["nominal", "ordinal", "interval"]

entries = st.none() | st.sampled_from([1, 2, 4, 5, 9])
tables = st.integers(1, 8).flatmap(
    lambda units: st.lists(st.lists(entries, min_size=units, max_size=units), min_size=2, max_size=4)
)
ratings = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30)


def alpha_by_coincidences(table, level):
    """The definition, over the matrix of coincidences, with the metrics as Krippendorff writes them."""
    units = [[rating for rating in unit if rating is not None] for unit in zip(*table, strict=True)]
    units = [unit for unit in units if len(unit) >= 2]
    values = sorted({rating for unit in units for rating in unit})
    matrix = np.zeros((len(values), len(values)))
    for unit in units:
        for i, first in enumerate(unit):
            for j, second in enumerate(unit):
                if i != j:
                    matrix[values.index(first), values.index(second)] += 1 / (len(unit) - 1)
    totals = matrix.sum(axis=1)
    if len(values) < 2:
        return None

    def metric(c, k):
        if level == "nominal":
            return float(c != k)
        if level == "interval":
            return (values[c] - values[k]) ** 2
        low, high = min(c, k), max(c, k)
        return (totals[low : high + 1].sum() - (totals[c] + totals[k]) / 2) ** 2

    places = range(len(values))
    observed = sum(matrix[c, k] * metric(c, k) for c in places for k in places)
    expected = sum(totals[c] * totals[k] * metric(c, k) for c in places for k in places)
    return 1 - (totals.sum() - 1) * observed / expected


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alphas_of_krippendorffs_four_coders(level, alpha):
    """Computing Krippendorff's Alpha-Reliability, 2011, part C and its generalisations."""
    assert krippendorff_alpha(CANONICAL, level) == pytest.approx(alpha, abs=5e-4)


@given(table=tables, level=st.sampled_from(LEVELS))
def test_an_alpha_is_that_of_its_definition(table, level):
    expected = alpha_by_coincidences(table, level)
    alpha = krippendorff_alpha(table, level)
    assert (alpha is None) == (expected is None)
    if alpha is not None:
        assert alpha == pytest.approx(expected, abs=1e-9)
        assert alpha <= 1.0


@given(table=tables, level=st.sampled_from(LEVELS), data=st.data())
def test_an_alpha_knows_neither_the_order_of_raters_nor_of_units(table, level, data):
    alpha = krippendorff_alpha(table, level)
    shuffled = data.draw(st.permutations(table))
    units = data.draw(st.permutations(list(zip(*shuffled, strict=True))))
    other = krippendorff_alpha(list(zip(*units, strict=True)), level)
    assert (other is None) if alpha is None else (other == pytest.approx(alpha, abs=1e-9))


@given(table=tables)
def test_a_level_ignores_what_it_does_not_look_at(table):
    """Interval: unit and origin; ordinal: any change that keeps the order; nominal: any renaming."""

    def renamed(change):
        return [[None if rating is None else change(rating) for rating in rater] for rater in table]

    def same(level, change):
        before, after = krippendorff_alpha(table, level), krippendorff_alpha(renamed(change), level)
        return (after is None) if before is None else (after == pytest.approx(before, abs=1e-9))

    assert same("interval", lambda rating: 10 * rating - 7)
    assert same("ordinal", lambda rating: rating**3)
    assert same("nominal", lambda rating: {1: "good", 2: "bad", 4: "fair", 5: "poor", 9: "fine"}[rating])


def test_a_level_sees_what_it_looks_at():
    """A test that could not fail: all three the same would pass every test above but the published one."""
    near, far = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 4]], [[1, 2, 3, 4, 5], [1, 2, 3, 4, 1]]
    for level in ("ordinal", "interval"):
        assert krippendorff_alpha(near, level) > krippendorff_alpha(far, level)
    assert krippendorff_alpha(near, "nominal") == pytest.approx(krippendorff_alpha(far, "nominal"))
    stretched = [[1, 2, 3, 4, 50], [1, 2, 3, 4, 4]]
    assert krippendorff_alpha(stretched, "interval") < krippendorff_alpha(near, "interval")
    assert krippendorff_alpha(stretched, "ordinal") == pytest.approx(krippendorff_alpha(near, "ordinal"))


@pytest.mark.parametrize("level", LEVELS)
def test_agreeing_throughout_is_one_and_chance_is_about_zero(level):
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]], level) == 1.0
    noise = np.random.default_rng(1).integers(1, 6, size=(3, 2000)).tolist()
    assert krippendorff_alpha(noise, level) == pytest.approx(0, abs=0.05)
    assert krippendorff_alpha([[1, 2, 1, 2], [2, 1, 2, 1]], level) < 0


@pytest.mark.parametrize(
    "table",
    [[], [[1, 2]], [[1, None], [None, 2]], [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]], [[1, 5], [1, None]]],
    ids=["no raters", "one rater", "no unit rated twice", "no variation", "none among what is compared"],
)
@pytest.mark.parametrize("level", LEVELS)
def test_where_nothing_can_be_compared_there_is_no_alpha(table, level):
    assert krippendorff_alpha(table, level) is None


def test_ratings_of_other_units_or_without_numbers_are_refused():
    with pytest.raises(ValueError, match=r"found \[1, 2\] units"):
        krippendorff_alpha([[1, 2], [1]], "nominal")
    with pytest.raises(ValueError, match="finite numbers"):
        krippendorff_alpha([[1, 2], [1, math.nan]], "interval")
    with pytest.raises(ValueError, match="good"):
        krippendorff_alpha([["good", "bad"], ["bad", "bad"]], "ordinal")


@given(pairs=ratings)
def test_a_kappa_is_that_of_scikit_learn(pairs):
    a, b = zip(*pairs, strict=True)
    kappa = quadratic_kappa(a, b)
    if len(set(a + b)) == 1:
        assert kappa is None
    else:
        assert kappa == pytest.approx(
            cohen_kappa_score(a, b, labels=[1, 2, 3, 4, 5], weights="quadratic"), abs=1e-9
        )


@given(pairs=ratings)
def test_kappa_is_symmetric_and_knows_no_unit_origin_or_order(pairs):
    a, b = zip(*pairs, strict=True)
    kappa = quadratic_kappa(a, b)
    if kappa is not None:
        assert -1 - 1e-9 <= kappa <= 1.0
        for first, second in [
            (b, a),
            (a[::-1], b[::-1]),
            ([25 * x - 25 for x in a], [25 * x - 25 for x in b]),
            ((*a, None, 3, None), (*b, 4, None, None)),
        ]:
            assert quadratic_kappa(first, second) == pytest.approx(kappa, abs=1e-9)


def test_kappas_by_hand():
    assert quadratic_kappa([1, 2, 3], [1, 2, 3]) == 1.0
    assert quadratic_kappa([1, 3], [3, 1]) == -1.0
    assert quadratic_kappa([2, 2], [1, 3]) == 0.0  # one side constant
    assert quadratic_kappa([1, 2, 3, 4], [2, 3, 4, 5]) == pytest.approx(
        1 - 1 / 3.5
    )  # order alone will not do


def test_a_kappa_of_nothing_or_of_one_rating_throughout_is_none():
    assert quadratic_kappa([], []) is None
    assert quadratic_kappa([1, None], [None, 2]) is None
    assert quadratic_kappa([0.1] * 3, [0.1] * 3) is None
    with pytest.raises(ValueError, match="found 1 and 2"):
        quadratic_kappa([1], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        quadratic_kappa([1, math.inf], [1, 2])
