"""What stands behind the scores: failed checks and audits make no champion, and the version says so."""

import pytest

from tasks.errors import StageError
from tests.registry.promote.promoting import JUDGE, SCORER, around, judged, made, on_criteria, versions_named


def tags_of(tracking, promoted, version=1):
    tags = tracking.client.get_model_version(promoted.name, str(version)).tags
    return {
        name.removeprefix("touchstone.decision."): value
        for name, value in tags.items()
        if name.startswith("touchstone.decision.")
    }


# Checks


def test_model_trained_against_a_failed_check_stays_a_candidate(tracking, promoted):
    promotion = promoted([90.0] * 30, failed="end token")
    assert not promotion["champion"]
    assert promotion["preflight"] == "failed: fine-tuning, end token"
    assert promotion["reason"] == (
        "kept as candidate: training went on against failed checks (fine-tuning, end token); "
        "by its scores: its mean 90.0 on 6 gate rows reaches the minimum score 10"
    )
    assert versions_named(tracking, promoted.name) == {"candidate": 1}
    assert tags_of(tracking, promoted)["preflight"] == "failed: fine-tuning, end token"


def test_its_numbers_against_the_champion_are_told_all_the_same(promoted):
    promoted(around(40))
    promotion = promoted(around(50), failed="initial loss")
    assert not promotion["champion"]
    assert promotion["difference"] == pytest.approx(10)
    assert "by its scores: +10.0 points against version 1" in promotion["reason"]


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"base": ("pretrained", "causality")}, "pretraining, causality"),
        ({"base": ("pretrained", None), "tuned": ("model", [9, "end token"])}, "fine-tuning, end token"),
        (
            {"base": ("taken_over", {"version": "other/3", "preflight": "failed: pretraining, causality"})},
            "other/3, pretraining, causality",
        ),
    ],
    ids=["the base", "what preferences were learned on", "a base of the registry"],
)
def test_the_checks_of_every_training_it_comes_from_count(tracking, promoted, origin, told):
    promotion = promoted(around(90), origin={name: made(tracking, *what) for name, what in origin.items()})
    assert promotion["preflight"] == f"failed: {told}"
    assert not promotion["champion"]


@pytest.mark.parametrize("registered", [None, {"version": "other/3", "preflight": "passed"}])
def test_a_base_that_was_taken_over_has_nothing_to_fail(tracking, promoted, registered):
    assert promoted(around(90), origin={"base": made(tracking, "taken_over", registered)})["champion"]


def test_training_without_recorded_checks_is_not_vouched_for(tracking, promoted):
    promotion = promoted(around(90), origin={"tuned": made(tracking, "taken_over", None)})
    assert promotion["preflight"] == "failed: fine-tuning, whose checks are not on record"


# Audits


@pytest.mark.parametrize(
    ("verdict", "audit", "checked"),
    [
        ("pass", "passed", "preflight passed, audit passed"),
        ("warn", f"warned: {JUDGE}", f"preflight passed, audit warned: {JUDGE}"),
    ],
)
def test_the_reason_says_what_was_checked(tracking, promoted, verdict, audit, checked):
    judge = judged(verdict=verdict)
    promotion = promoted(around(40), scorer=JUDGE, judge=judge, accept_warned_judge=True)
    assert promotion["champion"]
    assert promotion["audit"] == tags_of(tracking, promoted)["audit"] == audit
    assert promotion["reason"].endswith(checked)


def test_audit_warning_makes_no_champion_unless_it_is_accepted(promoted):
    """Pitfall: four of thirty wrong answers at full marks were a warning, and the warning crowned."""
    promotion = promoted(around(90), scorer=JUDGE, judge=judged(verdict="warn"))
    assert not promotion["champion"]
    assert promotion["audit"] == f"warned: {JUDGE}"
    assert promotion["reason"] == (
        f"kept as candidate: the audit of {JUDGE} passed with warnings, which "
        "promote.accept_warned_judge=true accepts; by its scores: its mean 93.3 on 6 gate rows reaches "
        "the minimum score 10"
    )


def test_a_warning_holds_against_a_present_champion_too(promoted):
    promoted(around(40), scorer=JUDGE, judge=judged())
    promotion = promoted(around(60), scorer=JUDGE, judge=judged(verdict="warn"))
    assert (promotion["champion"], promotion["difference"]) == (False, 20.0)


def test_a_judge_without_an_audit_makes_no_champion(promoted):
    judge = judged()
    judge["judges"][0]["audit"] = None
    promotion = promoted(around(90), scorer=JUDGE, judge=judge)
    assert not promotion["champion"]
    assert promotion["reason"] == f"kept as candidate: {JUDGE} was not audited"


def test_one_judge_of_several_that_failed_makes_no_champion(promoted):
    judge = judged()
    judge["judges"] += judged(verdict="fail")["judges"]
    promotion = promoted(around(90), scorer="panel", judge=judge)
    assert promotion["audit"] == f"failed: {JUDGE} failed its audit, so its scores do not count"
    assert promotion["reason"] == f"kept as candidate: {JUDGE} failed its audit, so its scores do not count"


# What the version says


def test_the_version_holds_every_number_of_the_decision(tracking, promoted):
    first = promoted([40.0] * 30)
    assert tags_of(tracking, promoted) == {
        "champion": "true",
        "against": "none",
        "anew": "none",
        "leaked": "0",
        "part": "gate",
        "rows": "6",
        "level": "none",
        "openings": "0",
        "budget_left": "0.05",
        "sealed_mean": "40.0000",
        "sealed_low": f"{first['sealed_low']:.4f}",
        "sealed_high": f"{first['sealed_high']:.4f}",
        "mean": "40.0000",
        "min_score": "10.0000",
        "difference": "none",
        "low": "none",
        "high": "none",
        "margin": "0.0000",
        "preflight": "passed",
        "audit": "not needed: metrics alone",
    }
    promotion = promoted([70.0 + index % 3 for index in range(30)], margin=0.5)
    second = tags_of(tracking, promoted, 2)
    assert second["against"] == "version 1"
    assert second["margin"] == "0.5000"
    assert (second["part"], second["rows"], second["openings"]) == ("sealed", "24", "1")
    assert float(second["level"]) == pytest.approx(0.01914, abs=1e-5)
    assert float(second["budget_left"]) == pytest.approx(0.03086, abs=1e-5)
    for name in ("difference", "low", "high", "sealed_mean", "sealed_low", "sealed_high"):
        assert float(second[name]) == pytest.approx(promotion[name], abs=1e-4)


def test_the_version_has_a_description_for_people(tracking, promoted):
    promoted(around(40))
    promotion = promoted(around(70))
    text = tracking.client.get_model_version(promoted.name, "2").description
    assert text.startswith("# Champion\n\nchampion: +30.0 points against version 1")
    for row in (
        f"- Score: {promotion['sealed_mean']:.1f} of 100 by {SCORER} on the sealed rows",
        "- Whole test split: 70.0, the gate rows included",
        "- Compared with: version 1, the champion then",
        r"- Difference: \+30.0 points on the same 24 sealed rows",
        "- Sealed rows: opened once, which leaves 3.09% of the error budget of 5%",
        "- Preflight: passed",
        "- Code: 0123abcd",
    ):
        assert row in text


# Criteria

MIXED = {"falsifiable": ("correct",), "correct": "pass", "polite": "pass"}


def test_criterion_that_no_audit_can_falsify_makes_no_champion(promoted):
    """People's labels are of what the reference says, so that nobody has said that the judge is right."""
    promotion = promoted(around(90), scorer=JUDGE, judge=on_criteria(**MIXED))
    assert not promotion["champion"]
    assert promotion["reason"] == (
        "kept as candidate: no reference is shown for polite, so that no audit can show its judge wrong, and "
        "people's labels are of what the reference says: promote it by hand (touchstone promote), or set "
        "promote.criterion to one with a reference; by its scores: its mean 93.3 on 6 gate rows reaches the "
        "minimum score 10"
    )


@pytest.mark.parametrize(("criterion", "champion"), [("correct", True), ("polite", False)])
def test_one_criterion_may_decide_and_then_it_alone_is_looked_at(tracking, promoted, criterion, champion):
    judge = on_criteria(**MIXED | {"polite": "pass" if champion else "warn"})
    promotion = promoted(around(90), scorer=JUDGE, judge=judge, criterion=criterion)
    assert (promotion["champion"], promotion["scorer"]) == (champion, f"{JUDGE} on {criterion}")
    assert promotion["audit"] == ("passed" if champion else f"warned: {JUDGE} on polite")
    version = tracking.client.get_model_version(promoted.name, "1")
    assert version.tags["touchstone.scorer"] == f"{JUDGE} on {criterion}"


def test_comparison_is_on_the_criterion_that_decides(promoted):
    judge = on_criteria(**MIXED)
    promoted(around(40), scorer=JUDGE, judge=judge, criterion="correct")
    promotion = promoted(around(60), scorer=JUDGE, judge=judge, criterion="correct")
    assert (promotion["champion"], promotion["difference"]) == (True, pytest.approx(20))


def test_failed_audit_of_another_criterion_does_not_count(promoted):
    judge = on_criteria(falsifiable=("correct",), correct="pass", polite="fail")
    assert promoted(around(90), scorer=JUDGE, judge=judge, criterion="correct")["champion"]
    overall = promoted(around(95), scorer=JUDGE, judge=judge)
    assert overall["reason"].startswith("kept as candidate: no reference is shown for polite")
    assert overall["audit"] == f"failed: {JUDGE} on polite failed its audit, so its scores do not count"


def test_scores_whose_criteria_weigh_otherwise_are_not_compared(promoted):
    judges = [
        on_criteria(falsifiable=("a", "b"), weights={"a": weight, "b": 1.0}, a="pass", b="pass")
        for weight in (1.0, 2.0)
    ]
    promoted(around(40), scorer=JUDGE, judge=judges[0])
    promotion = promoted(around(60), scorer=JUDGE, judge=judges[1])
    assert (promotion["champion"], promotion["difference"]) == (False, None)


def test_a_criterion_that_nothing_was_judged_by_is_told(promoted):
    with pytest.raises(StageError, match=r"criterion is short, and the scores are on these criteria"):
        promoted(around(90), scorer=JUDGE, judge=on_criteria(**MIXED), criterion="short")


def test_labels_are_not_asked_of_scores_on_criteria(promoted):
    """Regression: people grade by what the reference says, and their labels promoted scores on politeness."""
    promotion = promoted(around(90), scorer=JUDGE, judge=on_criteria(**MIXED), require_labels=1)
    assert not promotion["champion"]
    assert "promote.require_labels is for scores by the reference" in promotion["reason"]
