"""Means corrected by people's labels: against the paper's own formulas, and in trials."""

import numpy as np
import pytest

from tasks.statistics.prediction_powered import LEAST_UNITS, Corrected, prediction_powered


def judged(seed=1, rows=400, noise=20.0):
    """Scores and labels of rows, the scores 10 points too high."""
    draw = np.random.default_rng(seed)
    labels = 20.0 * draw.integers(0, 6, rows)
    return np.clip(labels + draw.normal(10, noise, rows), 0, 100), labels


def labelled(labels, places):
    return [label if place in places else None for place, label in enumerate(labels)]


def ppi_plus_plus(scores, labels, places):
    """Mean, variance and lambda as the paper has them, of two sets that are apart (PPI++, 2023, section 3).

    The loss of a mean is quadratic, so lambda minimises the variance of its estimate over a grid, by brute
    force; and by the closed form of example 6.1.
    """
    own = sorted(places)
    rest = [place for place in range(len(scores)) if place not in places]
    y, f, unlabelled = labels[own], scores[own], scores[rest]
    n, many = len(own), len(rest)

    def variance(weight):
        return np.var(unlabelled) * weight**2 / many + np.var(y - weight * f) / n

    grid = np.linspace(0, 1, 2001)
    by_force = grid[np.argmin([variance(weight) for weight in grid])]
    closed = np.mean((y - y.mean()) * (f - f.mean())) / ((1 + n / many) * np.var(scores))
    estimate = closed * unlabelled.mean() + np.mean(y - closed * f)
    return estimate, variance(closed), closed, by_force


@pytest.mark.parametrize("noise", [20.0, 35.0, 60.0])
def test_the_estimate_is_that_of_the_paper_and_its_variance_too(noise):
    scores, labels = judged(rows=2000, noise=noise)
    places = set(np.random.default_rng(2).permutation(2000)[:500].tolist())
    estimate, variance, weight, by_force = ppi_plus_plus(scores, labels, places)
    found = prediction_powered(scores, labelled(labels, places), [0.25] * 2000)
    assert found.weight * 1500 / 2000 == pytest.approx(weight, rel=1e-9)
    assert found.estimate == pytest.approx(estimate, abs=1e-9)
    assert found.standard_error**2 == pytest.approx(variance, rel=0.05)
    assert weight == pytest.approx(by_force, abs=0.03)


def test_scores_varying_less_than_labels_weigh_no_more_than_1():
    """Scores of half of people's scale: the best weight would be 2."""
    errors = []
    for seed in range(300):
        draw = np.random.default_rng(seed)
        labels = 20.0 * draw.integers(0, 6, 100)
        places = set(draw.permutation(100)[:90].tolist())
        found = prediction_powered(labels / 2, labelled(labels, places), [0.9] * 100)
        errors.append((found.estimate - 50.0, found.standard_error))
        assert found.weight == 1.0
    off, told = np.array(errors).T
    assert np.mean(told) == pytest.approx(np.std(off), rel=0.1)


def test_a_judge_that_is_right_makes_few_labels_worth_many():
    scores, labels = judged(rows=2000, noise=1.0)
    blind = np.random.default_rng(3).permutation(scores)
    places = set(range(0, 2000, 20))
    right, guessed = (
        prediction_powered(own, labelled(labels, places), [0.05] * 2000) for own in (scores, blind)
    )
    alone = np.std(labels[sorted(places)]) / 10
    assert right.standard_error < 0.4 * alone
    assert guessed.standard_error == pytest.approx(alone, rel=0.1)
    assert (right.weight, guessed.weight) == (pytest.approx(1.0, abs=0.1), pytest.approx(0.0, abs=0.25))
    assert abs(right.estimate - labels.mean()) < 2 * right.standard_error
    assert scores.mean() - right.estimate > 5  # what the judge was too kind by


def test_estimate_with_every_row_labelled_is_the_label_mean():
    scores, labels = judged(rows=60)
    found = prediction_powered(scores, labels.tolist(), [1.0] * 60)
    assert found.estimate == pytest.approx(labels.mean())
    assert found.low < found.estimate < found.high


def test_rows_that_were_drawn_more_often_count_less():
    """Every wrong row is labelled and one right row of ten: unweighted, most rows would seem wrong."""
    labels = np.array([0.0] * 20 + [100.0] * 200)
    places = {*range(20), *range(20, 220, 10)}
    chances = [1.0] * 20 + [0.1] * 200
    found = prediction_powered([50.0] * 220, labelled(labels, places), chances)
    assert found.estimate == pytest.approx(100 * 200 / 220)
    assert found.weight == 0.0  # scores that do not vary say nothing


def test_interval_has_a_width_though_labels_agree_with_scores():
    labels = np.array([100.0] * 40)
    found = prediction_powered(labels, labelled(labels, set(range(20))), [0.5] * 40)
    assert (found.estimate, found.high) == (100.0, 100.0)
    assert found.low < 95


def test_rows_of_one_source_tell_less():
    scores, labels = judged(rows=200)
    labels = np.repeat(labels[:40], 5)
    scores = np.repeat(scores[:40], 5)
    places = set(range(100))
    sources = [f"passage {place // 5}" for place in range(200)]
    apart = prediction_powered(scores, labelled(labels, places), [0.5] * 200)
    together = prediction_powered(scores, labelled(labels, places), [0.5] * 200, sources)
    assert together.estimate == pytest.approx(apart.estimate)
    assert (together.units, apart.units) == (20, 100)
    assert together.standard_error == pytest.approx(apart.standard_error * 5**0.5, rel=0.1)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_too_few_labels_correct_nothing():
    scores, labels = judged(rows=50)
    few, enough = set(range(LEAST_UNITS - 1)), set(range(LEAST_UNITS))
    assert prediction_powered(scores, labelled(labels, few), [0.2] * 50) is None
    assert prediction_powered(scores, labelled(labels, enough), [0.2] * 50) is not None
    of_one = prediction_powered(scores, labelled(labels, enough), [0.2] * 50, ["one"] * 50)
    assert of_one is None


@pytest.mark.parametrize(
    ("scores", "labels", "chances"),
    [
        ([50.0] * 20, [101.0] * 20, [1.0] * 20),
        ([-1.0] * 20, [10.0] * 20, [1.0] * 20),
        ([50.0] * 20, [10.0] * 20, [0.0] * 20),
        ([50.0] * 20, [10.0] * 19, [1.0] * 20),
        ([], [], []),
    ],
)
def test_what_is_out_of_range_is_an_error(scores, labels, chances):
    with pytest.raises(ValueError, match=r"found|above 0"):
        prediction_powered(scores, labels, chances)


def test_interval_holds_the_mean_where_the_normal_one_does_not():
    """A judge that gives full marks to everything, of which people find one row in twenty wrong."""
    draw = np.random.default_rng(4)
    held = normal = 0
    for _ in range(100):
        labels = np.where(draw.random(110) < 0.05, 0.0, 100.0)
        found = prediction_powered([100.0] * 110, labelled(labels, set(range(20))), [20 / 110] * 110)
        held += found.low <= 95.0 <= found.high
        normal += abs(found.estimate - 95.0) <= 1.96 * found.standard_error
    assert held >= 95
    assert normal <= 80


def corrected(by_rows, by_labels, labelled=40, rows=400):
    return Corrected(50.0, 40.0, 60.0, 5.0, 0.5, labelled, labelled, rows, (by_rows,) * 2, (by_labels,) * 2)


def test_more_labels_narrow_the_interval_by_their_square_root():
    found = corrected(by_rows=3.0, by_labels=8.0)
    assert found.labels_needed((5.0, 5.0)) == 160  # 3^2 + 8^2 / 4 = 5^2
    assert found.labels_needed((5.0, float("inf"))) == 160
    assert found.labels_needed((9.0, 9.0)) == 40
    assert found.labels_needed((2.9, 2.9)) is None  # the rows alone leave more
    assert found.labels_needed((3.1, 3.1)) is None  # more labels than there are rows
