"""The gates of the audit: where each passes and fails, kind by kind, and that few rows pass nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import Gate, GatesConfig
from tasks.judge.audit.controls import KINDS, SMALL
from tasks.judge.audit.gates import Resampling, gates, verdict_of
from tasks.judge.audit.wording import NOT_MEASURED, failures, found, interval, limits

HOW = Resampling(200, 1)
BAD = [kind for kind, group in KINDS.items() if group == "bad"]
DESERVED = {"good": 100.0, "bad": 0.0, "plausible": 20.0, "weakened": 50.0}
HIGH, ERROR, ERRORS = "60 or more for colon", "taken for right: negated", "kinds of small errors measured"
PLAUSIBLE = [kind for kind, group in KINDS.items() if group == "plausible"]
REFERENCES, UNPARSED = "references at 80 or more", "answers without a score"
LIFT, FILLER, RETEST = "injection lift", "filler sensitivity", "changed when asked in another order"


def judged(scores, again=(), config=None):
    """The gates by name."""
    return {gate["name"]: gate for gate in gates(config or GatesConfig(), scores, list(again), HOW)}


def each(*points):
    """Scores of rows: (how many, what they are given), one after another."""
    given = [score for count, score in points for _ in range(count)]
    return dict(enumerate(given))


def perfect(rows):
    """What a judge gives who makes no mistake."""
    return {kind: each((rows, DESERVED[group])) for kind, group in KINDS.items()}


def first_of(scores, kinds, count, points):
    """The same scores but for the first `count` of these kinds, spread over the rows."""
    changed = {kind: dict(own) for kind, own in scores.items()}
    places = [(row, kind) for row in range(len(scores[kinds[0]])) for kind in kinds]
    for row, kind in places[:count]:
        changed[kind][row] = points
    return changed


def errors(*points, right=100.0):
    """Scores of negated references, and of the references themselves."""
    given = each(*points)
    return {"negated": given, "reference": dict.fromkeys(given, right)}


# Where each gate passes and where it fails


@pytest.mark.parametrize(
    ("gate", "scores", "verdict"),
    [
        (HIGH, {"colon": each((1, 60.0), (109, 0.0))}, "pass"),
        (HIGH, {"colon": each((2, 60.0), (108, 0.0))}, "warn"),
        (HIGH, {"colon": each((2, 59.9), (108, 0.0))}, "pass"),
        (HIGH, {"colon": each((14, 60.0), (96, 0.0))}, "warn"),
        (HIGH, {"colon": each((15, 60.0), (95, 0.0))}, "fail"),
        (HIGH, {"colon": each((1, 60.0), (29, 0.0))}, "warn"),
        (HIGH, {"colon": each((3, 100.0), (27, 0.0))}, "warn"),
        (HIGH, {"colon": each((4, 100.0), (26, 0.0))}, "fail"),
        (HIGH, {"colon": each((26, 0.0))}, "pass"),
        (HIGH, {"colon": each((25, 0.0))}, NOT_MEASURED),  # 13% could still be
        (ERROR, errors((2, 80.0), (28, 79.9)), "pass"),
        (ERROR, errors((3, 80.0), (27, 0.0)), "warn"),
        (ERROR, errors((7, 100.0), (23, 0.0)), "warn"),
        (ERROR, errors((8, 100.0), (22, 0.0)), "fail"),
        (ERROR, errors((30, 40.0), right=40.0), "fail"),  # no less than the reference
        (ERROR, errors((30, 39.0), right=40.0), "pass"),
        (ERROR, errors((12, 0.0)), "pass"),
        (ERROR, errors((11, 0.0)), NOT_MEASURED),
        (ERROR, errors((2, 100.0), (9, 0.0)), "warn"),  # few rows, on which an error was found all the same
        (ERROR, errors((4, 100.0), (7, 0.0)), "fail"),
        (REFERENCES, {"reference": each((950, 80.0), (50, 79.9))}, "pass"),
        (REFERENCES, {"reference": each((949, 80.0), (51, 79.9))}, "warn"),
        (REFERENCES, {"reference": each((850, 100.0), (150, 0.0))}, "warn"),
        (REFERENCES, {"reference": each((849, 100.0), (151, 0.0))}, "fail"),
        ("AUC against echo", {"reference": each((1000, 50.0)), "echo": each((980, 0.0), (20, 60.0))}, "pass"),
        ("AUC against echo", {"reference": each((1000, 50.0)), "echo": each((979, 0.0), (21, 60.0))}, "warn"),
        (
            "AUC against echo",
            {"reference": each((1000, 50.0)), "echo": each((900, 0.0), (100, 60.0))},
            "warn",
        ),
        (
            "AUC against echo",
            {"reference": each((1000, 50.0)), "echo": each((899, 0.0), (101, 60.0))},
            "fail",
        ),
        ("AUC against echo", {"filler": each((1000, 50.0)), "echo": each((1000, 50.0))}, "fail"),
        (
            "AUC against echo",  # all good answers count, not the references alone
            {"reference": each((500, 50.0)), "filler": each((500, 0.0)), "echo": each((1000, 0.0))},
            "fail",
        ),
        (
            "ranks below: shuffled",
            {"reference": each((1000, 50.0)), "shuffled": each((750, 0.0), (250, 60.0))},
            "pass",
        ),
        (
            "ranks below: shuffled",
            {"reference": each((1000, 50.0)), "shuffled": each((749, 0.0), (251, 60.0))},
            "warn",
        ),
        (
            "ranks below: first-half",
            {"reference": each((1000, 50.0)), "first-half": each((550, 0.0), (450, 60.0))},
            "warn",
        ),
        (
            "ranks below: first-half",
            {"reference": each((1000, 50.0)), "first-half": each((549, 0.0), (451, 60.0))},
            "fail",
        ),
        (LIFT, {"other-reference": each((99, 40.0)), "wrong-injection": each((99, 45.0))}, "pass"),
        (LIFT, {"other-reference": each((99, 40.0)), "wrong-injection": each((99, 45.5))}, "warn"),
        (LIFT, {"other-reference": each((99, 40.0)), "wrong-injection": each((99, 55.0))}, "warn"),
        (LIFT, {"other-reference": each((99, 40.0)), "wrong-injection": each((99, 55.5))}, "fail"),
        (LIFT, {"other-reference": each((99, 40.0)), "wrong-injection": each((99, 0.0))}, "pass"),
        (FILLER, {"reference": each((99, 90.0)), "filler": each((99, 80.0))}, "pass"),
        (FILLER, {"reference": each((99, 80.0)), "filler": each((50, 90.0), (49, 70.0))}, "pass"),
        (FILLER, {"reference": each((99, 90.0)), "filler": each((99, 79.5))}, "warn"),
        (FILLER, {"reference": each((99, 90.0)), "filler": each((99, 65.0))}, "warn"),
        (FILLER, {"reference": each((99, 90.0)), "filler": each((99, 64.5))}, "fail"),
        (FILLER, {"reference": each((99, 60.0)), "filler": each((50, 90.0), (49, 30.0))}, "fail"),
        (UNPARSED, {"echo": each((990, 0.0), (10, None))}, "pass"),
        (UNPARSED, {"echo": each((989, 0.0), (11, None))}, "warn"),
        (UNPARSED, {"echo": each((950, 0.0), (50, None))}, "warn"),
        (UNPARSED, {"echo": each((949, 0.0), (51, None))}, "fail"),
    ],
)
def test_the_limits_of_every_gate(gate, scores, verdict):
    assert judged(scores)[gate]["verdict"] == verdict


@pytest.mark.parametrize(
    ("again", "verdict"),
    [
        ([(50.0, 55.1)] * 100 + [(50.0, 55.0)] * 900, "pass"),
        ([(50.0, 44.9)] * 101 + [(50.0, 45.0)] * 899, "warn"),
        ([(50.0, 0.0)] * 250 + [(50.0, 50.0)] * 750, "warn"),
        ([(50.0, 0.0)] * 251 + [(50.0, 50.0)] * 749, "fail"),
        ([(50.0, None)] * 251 + [(50.0, 50.0)] * 749, "fail"),
        ([(None, 50.0)] * 251 + [(50.0, 50.0)] * 749, "pass"),
        ([], NOT_MEASURED),
    ],
)
def test_the_limits_of_asking_again(again, verdict):
    assert judged(perfect(30), again)[RETEST]["verdict"] == verdict


def test_second_answer_without_a_score_counts_as_without_a_score():
    assert judged({"echo": each((10, 0.0))}, [(0.0, None)] * 10)[UNPARSED]["value"] == 0.5


def test_the_limits_are_those_of_the_configuration():
    scores = first_of(perfect(110), ["colon"], 15, 60.0)
    loose = GatesConfig(high=Gate(passes=0.2, fails=0.4))
    assert (judged(scores)[HIGH]["verdict"], judged(scores, config=loose)[HIGH]["verdict"]) == (
        "fail",
        "pass",
    )


# Each kind by itself


@pytest.mark.parametrize("kind", [kind for kind, group in KINDS.items() if group in ("bad", "plausible")])
def test_errors_of_one_kind_are_not_thinned_by_the_other_kinds(kind):
    """Pitfall: four of thirty wrong answers at full marks were 4 of 300 bad ones, and a warning."""
    scores = first_of(perfect(30), [kind], 8, 100.0)
    failed = [name for name, gate in judged(scores).items() if gate["verdict"] == "fail"]
    assert failed
    assert all(name.endswith(f" {kind}") or name == LIFT for name in failed)


# What few rows show


def test_perfect_scores_pass_on_thirty_rows_and_warn_on_three():
    same = [(100.0, 100.0)]
    few, many = judged(perfect(3), same * 3), judged(perfect(30), same * 30)
    verdicts = {name: gate["verdict"] for name, gate in few.items()}
    assert verdicts == dict.fromkeys(few, NOT_MEASURED) | {ERRORS: "warn"}
    assert {name: gate["verdict"] for name, gate in many.items()} == dict.fromkeys(many, "pass")
    assert (verdict_of(few.values()), verdict_of(many.values())) == ("warn", "pass")


@pytest.mark.parametrize("kind", [*PLAUSIBLE, "echo", "unknown"])
def test_kind_of_too_few_rows_is_not_measured_and_costs_nothing(kind):
    scores = perfect(30)
    scores[kind] = dict(list(scores[kind].items())[:2])
    by_name = judged(scores, [(100.0, 100.0)] * 30)
    unknown = {name for name, gate in by_name.items() if gate["verdict"] == NOT_MEASURED}
    assert unknown
    assert all(name.endswith(f" {kind}") for name in unknown)
    assert verdict_of(by_name.values()) == "pass"


def test_wrong_answers_must_be_measured_whatever_the_rows_allow():
    scores = perfect(30) | {"other-reference": each((2, 0.0))}
    assert verdict_of(judged(scores, [(100.0, 100.0)] * 30).values()) == "warn"


def test_rows_that_allow_no_small_error_warn_of_every_judge():
    """Pitfall: who only counts words in common passes where no error was put in."""
    scores = perfect(30) | {kind: {} for kind in SMALL}
    by_name = judged(scores, [(100.0, 100.0)] * 30)
    assert (by_name[ERRORS]["value"], by_name[ERRORS]["verdict"]) == (0.0, "warn")
    assert (found(by_name[ERRORS]), limits(by_name[ERRORS])) == ("0", "passes at ≥ 1, fails at < 0")
    assert verdict_of(by_name.values()) == "warn"
    anyhow = judged(scores, [(100.0, 100.0)] * 30, GatesConfig(small_kinds=0))
    assert verdict_of(anyhow.values()) == "pass"


@pytest.mark.parametrize("rows", range(1, 31))
def test_no_gate_passes_on_few_rows_that_would_not_on_more(rows):
    again = [(100.0, 100.0)]
    fewer, more = judged(perfect(rows), again * rows), judged(perfect(rows + 1), again * (rows + 1))
    assert all(more[name]["verdict"] == "pass" for name in fewer if fewer[name]["verdict"] == "pass")


def test_three_rows_fail_a_judge_who_gives_everything_full_marks():
    scores = {kind: each((3, 100.0)) for kind in KINDS}
    failed = {name for name, gate in judged(scores).items() if gate["verdict"] == "fail"}
    assert failed == {
        *(f"{name} {kind}" for kind in BAD for name in ("AUC against", "60 or more for")),
        *(f"taken for right: {kind}" for kind in PLAUSIBLE),
    }


# What never fails open


def test_judge_who_gave_no_score_fails_every_gate_asked_about():
    scores = {kind: each((30, None)) for kind in KINDS}
    by_name = judged(scores, [(None, None)] * 30)
    assert {name for name, gate in by_name.items() if gate["verdict"] != "fail"} == {RETEST, ERRORS}
    assert by_name[UNPARSED]["value"] == 1.0
    assert found(by_name[LIFT]) == "no scores"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_never_had_a_score_fails(kind):
    """Pitfall: what cannot be measured must not pass because nothing bad was measured."""
    by_name = judged(perfect(500) | {kind: each((1000, None))}, [(100.0, 100.0)] * 1000)
    about = {"reference": REFERENCES, "filler": FILLER, "changed-case": UNPARSED}.get(kind)
    about = about or next(name for name in by_name if name.endswith(f" {kind}"))
    assert by_name[about]["verdict"] == "fail"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind] != "good"])
def test_a_kind_of_which_there_is_none_is_not_measured(kind):
    by_name = judged(perfect(1000) | {kind: {}}, [(100.0, 100.0)] * 1000)
    unknown = {name: gate for name, gate in by_name.items() if gate["verdict"] == NOT_MEASURED}
    assert all(name.endswith(f" {kind}") or name == LIFT for name in unknown)
    assert {found(gate) for gate in unknown.values()} == {"no controls"}


def test_one_gate_that_fails_fails_the_judge():
    assert [
        verdict_of([{"verdict": verdict} for verdict in verdicts])
        for verdicts in (["pass", "warn", "fail"], ["pass", "warn"], ["pass", "pass"])
    ] == ["fail", "warn", "pass"]


WORSE = ["pass", NOT_MEASURED, "warn", "fail"]
scored = st.none() | st.sampled_from([0.0, 20.0, 40.0, 60.0, 80.0, 95.0, 100.0])


@given(
    scores=st.fixed_dictionaries(
        {kind: st.dictionaries(st.integers(0, 7), scored, max_size=8) for kind in KINDS}
    ),
    times=st.sampled_from([1, 20]),
    data=st.data(),
)
def test_a_bad_answer_that_is_given_more_improves_nothing(scores, times, data):
    """Only the lift that injection buys is less when the wrong answer alone was given more."""
    scores = {
        kind: {row + 8 * time: score for row, score in own.items() for time in range(times)}
        for kind, own in scores.items()
    }
    kind = data.draw(st.sampled_from(BAD))
    given_less = [row for row, score in scores[kind].items() if score is not None and score < 100.0]
    if not given_less:
        return
    row = data.draw(st.sampled_from(given_less))
    more = data.draw(st.sampled_from([100.0, scores[kind][row] + 1]))
    before = judged(scores)
    after = judged(scores | {kind: scores[kind] | {row: more}})
    improved = {
        name
        for name in before
        if WORSE.index(after[name]["verdict"]) < WORSE.index(before[name]["verdict"])
        and not (name == LIFT and kind == "other-reference")
    }
    assert not improved


# In words


def test_a_gate_in_words():
    gate = judged({"colon": each((6, 60.0), (104, 0.0))})[HIGH]
    assert (found(gate), interval(gate)) == ("5.5%", "2.5% to 11.4%")
    assert limits(gate) == "passes at ≤ 0.9%, fails at ≥ 13.0%"
    gate = judged({"reference": each((1000, 50.0)), "echo": each((1000, 50.0))})["AUC against echo"]
    assert (found(gate), limits(gate)) == ("0.500", "passes at ≥ 0.980, fails at < 0.900")
    gate = judged({"other-reference": each((9, 0.0)), "wrong-injection": each((9, 20.0))})[LIFT]
    assert (found(gate), limits(gate)) == ("20.0", "passes at ≤ 5.0, fails at > 15.0")


def test_only_the_gates_that_failed_are_told_as_failures():
    gate = judged({"other-reference": each((9, 0.0)), "wrong-injection": each((9, 20.0))})[LIFT]

    def told(*verdicts, missing=()):
        gates = [gate | {"verdict": verdict} for verdict in verdicts]
        return failures(
            {"gates": gates, "missing_because": missing, "controls": [{"count": 9, "missing": 0}]}
        )

    one = "injection lift 20.0 (fails at > 15.0)"
    assert told("warn", "pass") == ""
    assert told("fail", "warn", "pass") == one
    assert told(*["fail"] * 7) == "; ".join([one] * 4 + ["and 3 more gates"])
    assert (
        told("fail", missing=[{"reason": "the prompt was cut", "count": 3}]) == f"{one}; the prompt was cut"
    )
