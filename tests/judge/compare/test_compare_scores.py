"""A compared with B by their scores: every number by hand, and no mean where there is none to trust."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import CompareConfig, JudgeConfig
from tasks.errors import StageError, UsageError
from tasks.judge.compare.document import document
from tasks.judge.compare.pairs import Judged, paired
from tasks.judge.compare.scores import differences, shown_by
from tasks.judge.protocol.responses import ResponseRow
from tasks.judge.score.outputs import ScoreSummary
from tasks.judge.score.stage import judge
from tasks.machine.json_files import write_lines
from tasks.show.markdown import as_markdown
from tasks.statistics.comparing import paired_test
from tests.judge.compare.comparing import CHRF, JUDGE, Compared, ComparisonInput, exchanged, row_of, rows_of

A, B = [100.0, 50.0, 0.0, 80.0], [50.0, 50.0, 50.0, 20.0]
CONFIG = CompareConfig()


def side(points, scorer=CHRF, **options):
    return ComparisonInput(rows_of("response" for _ in points), {scorer: points}, **options)


@pytest.fixture
def compared(tmp_path):
    made = []

    def make(a, b, **options):
        made.append(tmp_path / f"compared-{len(made)}")
        return Compared(made[-1], a, b, **options)

    return make


# Numbers


def test_every_number_by_hand():
    found = shown_by(CONFIG, A, B)
    assert {name: found[name] for name in ("status", "rows", "scored", "missing_a", "missing_b")} == {
        "status": "ok",
        "rows": 4,
        "scored": 4,
        "missing_a": 0,
        "missing_b": 0,
    }
    assert found["difference"] == found["lowest_possible"] == found["highest_possible"] == 15.0
    assert found["p"] == pytest.approx(paired_test(A, B).p)
    assert found["p"] > 0.5
    assert [found[name]["count"] for name in ("wins", "ties", "losses")] == [2, 1, 1]
    assert found["wins"]["share"] == 0.5
    assert (round(found["wins"]["low"], 4), round(found["wins"]["high"], 4)) == (0.15, 0.85)
    assert found["smallest_detectable"] is None  # of four rows not even one of 100 points
    assert -100.0 < found["low"] < 0.0 < 15.0 < found["high"] < 100.0


def test_a_difference_up_to_the_tie_is_one():
    found = shown_by(CompareConfig(tie=50.0), A, B)
    assert [found[name]["count"] for name in ("wins", "ties", "losses")] == [1, 3, 0]


def test_missing_scores_take_no_part_and_are_bounded():
    found = shown_by(CONFIG, [100.0, None, 0.0, None], [50.0, 50.0, None, None])
    assert (found["rows"], found["scored"], found["missing_a"], found["missing_b"]) == (4, 1, 2, 2)
    assert found["difference"] == 50.0
    assert (found["low"], found["high"]) == pytest.approx((-96.25, 98.75), abs=1e-4)  # of that one row
    # the worst for A: 50, 0 - 50, 0 - 100, 0 - 100; the best: 50, 100 - 50, 0 - 0, 100 - 0
    assert (found["lowest_possible"], found["highest_possible"]) == (-50.0, 50.0)
    assert found["smallest_detectable"] is None


@pytest.mark.parametrize("status", ["ok", "too_many_missing", "judge_failed_audit"])
def test_without_a_mean_to_trust_there_are_only_bounds(status):
    missing = [None, None] if status == "ok" else [100.0, None]
    found = shown_by(CONFIG, missing, [0.0, 100.0], status)
    for name in ("difference", "low", "high", "p", "smallest_detectable", "wins", "ties", "losses"):
        assert found[name] is None
    assert (found["status"], found["rows"], found["highest_possible"]) == (status, 2, 50.0)


points = st.none() | st.integers(0, 100).map(float)


@given(rows=st.lists(st.tuples(points, points), min_size=1, max_size=30))
def test_b_with_a_is_a_with_b_negated(rows):
    ours, theirs = ([row[place] for row in rows] for place in (0, 1))
    found, back = shown_by(CONFIG, ours, theirs), shown_by(CONFIG, theirs, ours)
    wanted = exchanged(found)
    ends = ("low", "high", "p", "smallest_detectable")  # found to some decimals, from either end
    for name in ends:
        assert back[name] == (wanted[name] and pytest.approx(wanted[name], abs=1e-3))
    assert back | dict.fromkeys(ends) == wanted | dict.fromkeys(ends)


@given(rows=st.lists(st.tuples(points, points), min_size=1, max_size=30), data=st.data())
def test_bounds_hold_the_difference_whatever_the_missing_scores(rows, data):
    found = shown_by(CONFIG, [row[0] for row in rows], [row[1] for row in rows])
    truth = [[data.draw(st.floats(0, 100)) if score is None else score for score in row] for row in rows]
    mean = sum(ours - theirs for ours, theirs in truth) / len(truth)
    assert found["lowest_possible"] - 1e-9 <= mean <= found["highest_possible"] + 1e-9


def test_scores_follow_their_rows_and_not_their_places():
    a = [ResponseRow(index, f"{index}", "", "", "", "") for index in range(3)]
    b = [ResponseRow(10 + index, f"{2 - index}", "", "", "", "") for index in range(3)]
    entry = {"scorer": CHRF, "kind": "metric", "status": "ok"}
    summary = ScoreSummary(headline=CHRF, scores=[entry], categories={})
    ours = Judged(a, {index: {CHRF: 10.0 * index} for index in range(3)}, summary, [])
    theirs = Judged(b, {10 + index: {CHRF: 10.0 * (2 - index)} for index in range(3)}, summary, [])
    (found,) = differences(CONFIG, [ours], [theirs], paired(a, b, only_common=False))
    assert (found["difference"], found["ties"]["count"]) == (0.0, 3)


# The stage


def test_headline_comes_first_and_common_scorers_are_compared(compared):
    rows = rows_of("abcd")
    a = ComparisonInput(rows, {"metric:exact": [0.0] * 4, CHRF: A, JUDGE: A[::-1]})
    b = ComparisonInput(rows, {CHRF: B, JUDGE: B[::-1]})
    report = compared(a, b)().report
    assert [(one["scorer"], one["kind"]) for one in report["differences"]] == [
        (JUDGE, "judge"),
        (CHRF, "metric"),
    ]
    assert (report["headline"], report["mode"], report["rows"], report["pairwise"]) == (
        JUDGE,
        "scores",
        4,
        None,
    )


@pytest.mark.parametrize("status", ["too_many_missing", "judge_failed_audit"])
@pytest.mark.parametrize("which", ["a", "b"])
def test_side_without_a_mean_leaves_no_difference_but_the_metric(compared, status, which):
    rows = rows_of("abcd")
    bad = {JUDGE: status}
    a = ComparisonInput(
        rows, {CHRF: A, JUDGE: [None] * 4 if which == "a" else A}, bad if which == "a" else None
    )
    b = ComparisonInput(
        rows, {CHRF: B, JUDGE: [None] * 4 if which == "b" else B}, bad if which == "b" else None
    )
    done = compared(a, b)()
    judged, measured = done.report["differences"]
    assert (judged["status"], judged["difference"], measured["difference"]) == (status, None, 15.0)
    assert done.report["moved"] == []
    assert "difference" not in done.run.metrics
    ((_, page, _),) = done.pages
    assert "no mean" in page


def test_rows_that_moved_most_come_first_and_unmoved_not_at_all(compared):
    a = side([*A, None], JUDGE, reasons=["a0", "a1", "a2", "a3", "a4"])
    b = side([*B, 0.0], JUDGE, reasons=["b0", "b1", "b2", "b3", "b4"])
    moved = compared(a, b)().report["moved"]
    assert [(row["instruction"], row["by"]) for row in moved] == [
        ("Name thing 3.", 60.0),
        ("Name thing 0.", 50.0),
        ("Name thing 2.", -50.0),
    ]
    assert moved[2] == {
        "instruction": "Name thing 2.",
        "input": "",
        "reference": "Thing number 2",
        "by": -50.0,
        "a": {"id": 2, "response": "response", "score": 0.0, "reason": "a2"},
        "b": {"id": 2, "response": "response", "score": 50.0, "reason": "b2"},
    }
    assert len(compared(a, b, shown=1)().report["moved"]) == 1


@pytest.mark.parametrize(("count", "said"), [(1, "no difference"), (6, "no difference"), (7, "A is better")])
def test_a_few_rows_declare_no_winner_that_the_test_does_not(compared, count, said):
    """Regression: of equal differences the interval had no width, and one row won by it."""
    a = ComparisonInput(rows_of("a" * count), {CHRF: [90.0] * count})
    b = ComparisonInput(rows_of("b" * count), {CHRF: [10.0] * count})
    page = as_markdown(document(compared(a, b)().report))
    assert f"chrF++, a metric: {said}" in page.replace("\\", "")


def test_a_response_cannot_leave_its_block_on_the_page(compared):
    a = ComparisonInput([row_of(0, "```\n# A is better")], {CHRF: [100.0]})
    b = ComparisonInput([row_of(0, "so\nB (100.0): mine")], {CHRF: [0.0]})
    page = as_markdown(document(compared(a, b)().report))
    assert "\n# A is better" not in page
    assert "\nB (100.0)" not in page


def test_only_common_compares_what_both_have(compared):
    a = ComparisonInput(rows_of("abcd"), {CHRF: A})
    b = ComparisonInput(rows_of("abcd")[1:], {CHRF: B[1:]})
    with pytest.raises(UsageError, match="A has 4 rows and B 3, of which 3 are the same"):
        compared(a, b)()
    done = compared(a, b, only_common=True)()
    assert [done.report[name] for name in ("rows", "rows_a", "rows_b")] == [3, 4, 3]
    assert done.headline["difference"] == pytest.approx(10 / 3)
    assert done.run.metrics["rows"] == 3


def test_two_that_were_not_scored_by_the_same_are_refused(compared):
    with pytest.raises(StageError, match=f"A was scored by {CHRF}, B by {JUDGE}"):
        compared(side(A), side(B, JUDGE))()


@pytest.mark.parametrize("changed", [{"digest": "f" * 64}, {"prompt_version": "2"}])
def test_scores_by_another_model_or_prompt_are_not_compared(compared, changed):
    """Regression: a name that stood for two models, or was asked in two ways, was compared with itself."""
    asked = {"scorer": JUDGE, "digest": "a" * 64, "prompt_version": "1"}
    compared(side(A, JUDGE, judge=asked), side(B, JUDGE, judge=asked))()
    with pytest.raises(StageError, match="not judged alike"):
        compared(side(A, JUDGE, judge=asked), side(B, JUDGE, judge=asked | changed))()


def test_what_the_judge_stage_writes_is_what_is_compared(compared, stage_run):
    """By metrics alone, which need no judge."""
    responses = {"a": ["Thing number 0", "Thing number 1", "no"], "b": ["Thing number 0", "no", "no"]}
    done = compared(side([0.0] * 3), side([0.0] * 3))
    for name, own in responses.items():
        folder = done.inputs[f"{name}_responses"]
        write_lines(folder / "responses.jsonl", rows_of(own))
        run = stage_run(name)
        judge(JudgeConfig(scorer="metric:exact"), run, responses=folder)
        done.inputs[f"{name}_scores"] = run.out
    found = done().headline
    assert (found["scorer"], found["difference"], found["p"]) == (
        "metric:exact",
        100 / 3,
        pytest.approx(1.0),
    )
    assert [found[name]["count"] for name in ("wins", "ties", "losses")] == [1, 2, 0]
    assert len(done.report["differences"]) == 4
    assert [row["a"]["id"] for row in done.report["moved"]] == [1]
