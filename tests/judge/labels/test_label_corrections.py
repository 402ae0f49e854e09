"""What labels make of scores: means, paired differences, how far scores and people agree."""

import math

import numpy as np
import pytest

from tasks.judge.labels.corrected import Pairs, corrected_difference, corrected_mean
from tasks.judge.labels.stage import Labels
from tasks.statistics.agreement import quadratic_kappa
from tasks.statistics.prediction_powered import prediction_powered
from tasks.statistics.ranking import spearman, weighted_spearman


def labels_of(given, chances=None, seed=1):
    """Labels by row: of one person, or by person."""
    people = {row: own if isinstance(own, dict) else {"ann": own} for row, own in given.items()}
    return Labels(seed, 100, people, chances or dict.fromkeys(given, 0.5))


def scores_of(rows=60, seed=1):
    draw = np.random.default_rng(seed)
    grades = draw.integers(0, 6, rows)
    scores = np.clip(20.0 * (grades + draw.integers(0, 2, rows)), 0, 100)
    return dict(enumerate(scores.tolist())), dict(enumerate(grades.tolist()))


def pairs_of(ours, theirs, sources=()):
    return Pairs(list(ours), list(ours), list(ours.values()), [theirs[row] for row in ours], sources)


def test_a_mean_is_corrected_over_the_rows_that_have_a_score():
    scores, grades = scores_of()
    scores[59] = None
    labels = labels_of({row: grades[row] for row in range(0, 60, 2)} | {59: 5})
    found = corrected_mean(labels, scores, {})
    known = [row for row in scores if scores[row] is not None]
    expected = prediction_powered(
        [scores[row] for row in known],
        [20.0 * grades[row] if row % 2 == 0 else None for row in known],
        [0.5] * 59,
    )
    assert (found["estimate"], found["low"], found["high"]) == (
        expected.estimate,
        expected.low,
        expected.high,
    )
    assert (found["labelled"], found["rows"]) == (30, 59)
    assert found["half_as_wide"] is None or found["half_as_wide"] > 30


def test_too_few_labels_are_told_as_such():
    scores, grades = scores_of()
    found = corrected_mean(labels_of({row: grades[row] for row in range(5)}), scores, {})
    assert (found["estimate"], found["low"], found["labelled"], found["least"]) == (None, None, 5, 10)
    assert found["agreement"]["rows"] == 5


def test_agreement_is_that_of_the_rows_that_labels_stand_for():
    scores, grades = scores_of()
    every = labels_of(grades, dict.fromkeys(grades, 1.0))
    found = corrected_mean(every, scores, {})["agreement"]
    points = [20.0 * grade for grade in grades.values()]
    assert found["spearman"] == pytest.approx(spearman(list(scores.values()), points))
    assert found["kappa"] == pytest.approx(quadratic_kappa(list(scores.values()), points))
    assert found["bias"]["mean"] == pytest.approx(np.mean(list(scores.values())) - np.mean(points))
    assert found["bias"]["low"] < found["bias"]["mean"] < found["bias"]["high"]


def test_agreement_weighs_a_row_as_often_as_it_stands_for():
    """A row with a chance of a half counts as two rows would."""
    scores = {0: 0.0, 1: 40.0, 2: 60.0, 3: 100.0, 4: 80.0}
    grades = {0: 1, 1: 1, 2: 4, 3: 5, 4: 2}
    halves = labels_of(grades, dict.fromkeys(range(4), 1.0) | {4: 0.5})
    twice = labels_of(grades | {5: 2}, dict.fromkeys(range(6), 1.0))
    ours = corrected_mean(halves, scores, {})["agreement"]
    theirs = corrected_mean(twice, scores | {5: 80.0}, {})["agreement"]
    for name in ("spearman", "kappa"):
        assert ours[name] == pytest.approx(theirs[name])
    assert ours["bias"]["mean"] == pytest.approx(theirs["bias"]["mean"])
    assert weighted_spearman([1, 1, 1], [1, 2, 3], [1, 2, 3]) is None
    assert weighted_spearman([1, 2], [1, 2], [1, 1]) is None


def test_labels_of_two_people_are_averaged_with_their_agreement():
    scores, grades = scores_of()
    given = {row: {"ann": grades[row], "bob": min(grades[row] + 1, 5)} for row in range(20)}
    given |= {row: {"ann": grades[row]} for row in range(20, 30)}
    found = corrected_mean(labels_of(given), scores, {})
    assert found["people"] == [{"by": "ann", "rows": 30}, {"by": "bob", "rows": 20}]
    shared = found["between_people"]
    assert (shared["rows"], shared["people"]) == (20, 2)
    assert 0.5 < shared["apart"] <= 1
    assert 0 < shared["alpha"] < 1
    assert labels_of(given).points(0) == 10 * (grades[0] + min(grades[0] + 1, 5))
    alone = corrected_mean(labels_of({row: grades[row] for row in range(30)}), scores, {})
    assert alone["between_people"] is None
    assert found["estimate"] > alone["estimate"]


def test_difference_is_corrected_by_rows_labelled_for_both():
    ours, our_grades = scores_of(seed=1)
    theirs, their_grades = scores_of(seed=2)
    a = labels_of({row: our_grades[row] for row in range(40)}, dict.fromkeys(range(40), 0.7))
    b = labels_of({row: their_grades[row] for row in range(20, 60)}, dict.fromkeys(range(20, 60), 0.4))
    found = corrected_difference(a, b, pairs_of(ours, theirs))
    expected = prediction_powered(
        [ours[row] - theirs[row] for row in ours],
        [20.0 * (our_grades[row] - their_grades[row]) if 20 <= row < 40 else None for row in ours],
        [0.4] * 60,
        low=-100.0,
    )
    assert (found["estimate"], found["low"], found["high"]) == pytest.approx(
        (expected.estimate, expected.low, expected.high)
    )
    assert (found["labelled"], found["rows"], found["missing"]) == (20, 60, 0)


def test_samples_by_other_seeds_meet_by_chance():
    ours, our_grades = scores_of(seed=1)
    theirs, their_grades = scores_of(seed=2)
    uneven = {row: 0.9 if row % 2 else 0.1 for row in range(60)}
    a = labels_of(our_grades, uneven)
    one = corrected_difference(a, labels_of(their_grades, uneven), pairs_of(ours, theirs))
    two = corrected_difference(a, labels_of(their_grades, uneven, seed=2), pairs_of(ours, theirs))
    assert one["estimate"] != pytest.approx(two["estimate"])


@pytest.mark.parametrize(("a", "b"), [(True, False), (False, True)])
def test_labels_on_one_side_alone_correct_no_difference(a, b):
    ours, grades = scores_of()
    own = labels_of(grades)
    found = corrected_difference(own if a else None, own if b else None, pairs_of(ours, ours))
    assert (found["estimate"], found["labelled"], found["to_decide"]) == (None, 0, None)


def test_pairs_without_both_scores_count_as_worst_and_best():
    ours, our_grades = scores_of(seed=1)
    theirs, their_grades = scores_of(seed=2)
    labels = labels_of(our_grades), labels_of(their_grades)
    whole = corrected_difference(*labels, pairs_of({row: ours[row] for row in range(50)}, theirs))
    lacking = ours | dict.fromkeys(range(50, 60))
    found = corrected_difference(*labels, pairs_of(lacking, theirs))
    assert (found["rows"], found["missing"]) == (50, 10)
    assert found["low"] == pytest.approx((50 * whole["low"] - 10 * 100) / 60)
    assert found["high"] == pytest.approx((50 * whole["high"] + 10 * 100) / 60)


def test_labels_that_would_decide_are_counted_where_none_decides():
    draw = np.random.default_rng(3)
    grades = draw.integers(2, 6, 400).tolist()
    ours = {row: 20.0 * grade for row, grade in enumerate(grades)}
    theirs = {row: 20.0 * max(grade - int(draw.random() < 0.6), 0) for row, grade in enumerate(grades)}
    few = range(15)
    a = labels_of({row: int(ours[row] / 20) for row in few}, dict.fromkeys(few, 15 / 400))
    b = labels_of({row: int(theirs[row] / 20) for row in few}, dict.fromkeys(few, 15 / 400))
    found = corrected_difference(a, b, pairs_of(ours, theirs))
    assert found["low"] < 0 < found["estimate"]
    needed = found["to_decide"]
    assert 15 < needed <= 400
    more = range(needed)
    a = labels_of({row: int(ours[row] / 20) for row in more}, dict.fromkeys(more, needed / 400))
    b = labels_of({row: int(theirs[row] / 20) for row in more}, dict.fromkeys(more, needed / 400))
    decided = corrected_difference(a, b, pairs_of(ours, theirs))
    assert decided["low"] > 0
    assert decided["to_decide"] is None
    assert math.isfinite(decided["estimate"])
