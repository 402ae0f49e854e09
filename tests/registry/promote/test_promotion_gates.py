"""What stands behind the scores: failed proofs and audits make no champion, and the version says so."""

import pytest

from tests.registry.promote.promoting import JUDGE, SCORER, around, judged, made, versions_named


def tags_of(tracking, promoted, version=1):
    tags = tracking.client.get_model_version(promoted.name, str(version)).tags
    return {
        name.removeprefix("touchstone.decision."): value
        for name, value in tags.items()
        if name.startswith("touchstone.decision.")
    }


# Proofs


def test_a_model_that_was_trained_against_a_failed_proof_stays_a_candidate(tracking, promoted):
    promotion = promoted([90.0] * 30, failed="end token")
    assert not promotion["champion"]
    assert promotion["preflight"] == "failed: fine-tuning, end token"
    assert promotion["reason"] == (
        "kept as candidate: training went on against failed proofs (fine-tuning, end token); "
        "by its scores: its mean 90.0 on 6 gate rows reaches the least score 10"
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
def test_the_proofs_of_every_training_it_comes_from_count(tracking, promoted, origin, told):
    promotion = promoted(around(90), origin={name: made(tracking, *what) for name, what in origin.items()})
    assert promotion["preflight"] == f"failed: {told}"
    assert not promotion["champion"]


@pytest.mark.parametrize("registered", [None, {"version": "other/3", "preflight": "passed"}])
def test_a_base_that_was_taken_over_has_nothing_to_fail(tracking, promoted, registered):
    assert promoted(around(90), origin={"base": made(tracking, "taken_over", registered)})["champion"]


def test_a_training_whose_proofs_are_not_on_record_is_not_vouched_for(tracking, promoted):
    promotion = promoted(around(90), origin={"tuned": made(tracking, "taken_over", None)})
    assert promotion["preflight"] == "failed: fine-tuning, whose proofs are not on record"


# Audits


@pytest.mark.parametrize(
    ("verdict", "audit", "checked"),
    [
        ("pass", "passed", "preflight passed, audit passed"),
        ("warn", f"warned: {JUDGE}", f"preflight passed, audit warned: {JUDGE}"),
    ],
)
def test_the_reason_says_what_was_checked(tracking, promoted, verdict, audit, checked):
    promotion = promoted(around(40), scorer=JUDGE, judge=judged(verdict=verdict))
    assert promotion["champion"]
    assert promotion["audit"] == tags_of(tracking, promoted)["audit"] == audit
    assert promotion["reason"].endswith(checked)


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
    assert text.startswith("**Champion.** champion: +30.0 points against version 1")
    for row in (
        f"| Score | {promotion['sealed_mean']:.1f} of 100 by {SCORER} on the sealed rows |",
        "| Whole test split | 70.0, the gate rows included |",
        "| Compared with | version 1, the champion then |",
        r"| Difference | \+30.0 points on the same 24 sealed rows |",
        "| Sealed rows | opened once, which leaves 3.09% of the error budget of 5% |",
        "| Preflight | passed |",
        "| Code | 0123abcd |",
    ):
        assert row in text
