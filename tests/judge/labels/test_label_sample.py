"""Which rows people are asked about: of every grade, with known chances, mostly the same of two models."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judge.labels.sample import Design
from tasks.judge.labels.scale import ANCHORS, LABELS, grade_of, label_of, points_of
from tasks.judge.protocol.responses import ResponseRow
from tasks.judge.protocol.scoring_protocols import score_messages


def rows_of(count, sources=None):
    return [
        ResponseRow(
            place,
            f"Question {place}?",
            "",
            f"Answer {place}.",
            "",
            "Mine.",
            source=(sources or {}).get(place),
        )
        for place in range(count)
    ]


def design_of(scores, seed=1, sources=None):
    return Design.of(rows_of(len(scores), sources), dict(enumerate(scores)), "ollama:judge", seed)


MOSTLY_RIGHT = [100.0] * 90 + [80.0] * 15 + [60.0, 40.0, 40.0, 20.0, 0.0]


def test_people_grade_by_the_words_that_judges_are_given():
    asked = score_messages(rows_of(1)[0], "")[0]["content"]
    told = " ".join(message["content"] for message in score_messages(rows_of(1)[0], ""))
    assert asked
    for label, meaning in ANCHORS.items():
        assert f"{label}: {meaning}" in told
    assert list(ANCHORS) == list(reversed(LABELS))


def test_a_label_is_worth_twenty_points_a_grade():
    assert [points_of([label]) for label in LABELS] == [0, 20, 40, 60, 80, 100]
    assert points_of([3, 4]) == 70
    assert [grade_of(points) for points in (0, 9.9, 10, 50, 89, 90, 100)] == [0, 0, 1, 3, 4, 5, 5]


@pytest.mark.parametrize(
    ("value", "label"),
    [(4, 4), (4.0, 4), ("4", 4), ("4.0", 4), (" 0 ", 0)]
    + [(value, None) for value in (True, 6, -1, 3.5, "good", "", None, [4], float("nan"), "5e99")],
)
def test_a_label_is_a_whole_number_from_0_to_5(value, label):
    assert label_of(value) == label


def test_every_grade_is_drawn_and_the_others_in_proportion():
    drawn = Counter(MOSTLY_RIGHT[row] for row in design_of(MOSTLY_RIGHT).drawn(40))
    assert {points: drawn[points] for points in (60.0, 40.0, 20.0, 0.0)} == {60: 1, 40: 2, 20: 1, 0: 1}
    assert drawn[100.0] + drawn[80.0] == 35
    assert 25 <= drawn[100.0] <= 31


@given(
    st.lists(st.sampled_from([0.0, 20.0, 40.0, 60.0, 80.0, 100.0, None]), min_size=1, max_size=40), st.data()
)
def test_more_rows_are_the_same_rows_and_others(scores, data):
    if all(score is None for score in scores):
        return
    design = design_of(scores)
    fewer = data.draw(st.integers(1, len(scores)))
    more = data.draw(st.integers(fewer, len(scores)))
    assert set(design.drawn(fewer)) <= set(design.drawn(more))
    assert len(design.drawn(fewer)) == min(fewer, design.rows)
    assert all(scores[row] is not None for row in design.drawn(more))


def test_chances_are_the_labelled_share_of_a_grade():
    design = design_of(MOSTLY_RIGHT)
    drawn = design.drawn(40)
    chances = design.chances(drawn)
    right = sum(MOSTLY_RIGHT[row] == 100.0 for row in drawn)
    assert chances[0] == right / 90
    assert chances[109] == 1.0  # the only row of grade 0
    assert sum(1 / chances[row] for row in drawn) == pytest.approx(110)
    without = design.chances([row for row in drawn if row != 109])
    assert without[109] == pytest.approx(1 / 2)  # counted to grade 1, the nearest that is labelled


def test_each_row_of_a_grade_is_as_likely_as_any_other():
    times = Counter(row for seed in range(400) for row in design_of(MOSTLY_RIGHT, seed).drawn(40))
    of_grade_4 = [times[row] / 400 for row in range(90, 105)]
    expected = sum(of_grade_4) / 15
    assert all(abs(share - expected) < 0.11 for share in of_grade_4)  # 4.5 standard errors


def test_two_models_are_labelled_on_mostly_the_same_rows():
    other = [80.0 if score == 100.0 else 100.0 for score in MOSTLY_RIGHT]
    ours, theirs = design_of(MOSTLY_RIGHT).drawn(40), design_of(other).drawn(40)
    assert len({*ours} & {*theirs}) >= 30
    elsewhere = design_of(other, seed=2).drawn(40)
    assert len({*ours} & {*elsewhere}) < 25


def test_the_order_does_not_tell_the_grade():
    scores = [100.0, 0.0] * 60
    first = [scores[row] for row in design_of(scores).drawn(40)]
    assert sum(a != b for a, b in pairwise(first)) < 30  # not to and fro


def test_rows_of_one_source_are_drawn_together():
    sources = {place: f"passage {place // 4}" for place in range(40)}
    design = design_of([float(20 * (place % 6)) for place in range(40)], sources=sources)
    drawn = design.drawn(10)
    assert len(drawn) == 12
    assert {place // 4 for place in drawn} == {drawn[0] // 4, drawn[4] // 4, drawn[8] // 4}


def test_a_question_that_is_there_twice_is_two_rows():
    rows = [ResponseRow(place, "Same?", "", "Yes.", "", str(place)) for place in range(3)]
    assert Design.of(rows, dict.fromkeys(range(3), 50.0), "judge", 1).rows == 3
