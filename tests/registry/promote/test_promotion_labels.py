"""Where a promotion requires labels: they are asked for, and both scores and labels must be for it."""

import pytest

from tasks.judge.protocol.responses import read_rows
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.work import Stage, Work
from tests.judge.labels.labelling import labelled, labels_record
from tests.registry.promote.promoting import SCORER, Made, around, json, made, mean_of

ROOM = "tests.registry.promote.promoting"


@pytest.fixture
def judged(tracking, promoted):
    """Promote scores of responses that people gave these labels, by row id; gives the promotion."""

    def run(scores, labels=None, **config):
        responses = made(
            tracking, "responses", [f"{promoted.name} {judged_so_far()} {row}" for row in range(30)]
        )
        rows = read_rows(fetch(tracking, responses) / OUTPUT)
        what = Made(what=json.dumps([SCORER, mean_of(scores), scores, None]))
        stage = Stage("made-judged", 1, f"{ROOM}:make_judged")
        inputs = {
            "model": made(tracking, "model", [judged_so_far(), None]),
            "rows": made(tracking, "rows", 30),
            "scores": execute(tracking, Work(stage, what, {"responses": responses})),
        }
        if labels:
            labelled(tracking, responses, rows, {rows[place].id: label for place, label in labels.items()})
            inputs["labels"] = labels_record(tracking, responses)
        run.count += 1
        return promoted(inputs=inputs, **config)

    def judged_so_far():
        return run.count

    run.count = 0
    return run


GOOD = {place: 4 + place % 2 for place in range(12)}
BAD = {place: place % 2 for place in range(12)}


def test_without_labels_the_command_that_asks_for_them_is_named(judged):
    promotion = judged(around(90), require_labels=12)
    assert not promotion["champion"]
    assert "people have labelled 0 of its responses, and a promotion needs 12" in promotion["reason"]
    assert "`touchstone label " in promotion["reason"]
    assert "--rows 12`" in promotion["reason"]


def test_labels_that_are_not_required_decide_nothing(judged):
    promotion = judged(around(90), BAD)
    assert promotion["champion"]
    assert promotion["labels"] is None


def test_the_first_champion_needs_the_corrected_mean(judged):
    promotion = judged(around(90), BAD, require_labels=12, min_score=50)
    assert not promotion["champion"]
    assert "its mean corrected by people's labels, " in promotion["reason"]
    assert "is below the minimum score 50" in promotion["reason"]
    promotion = judged(around(90), GOOD, require_labels=12, min_score=50)
    assert promotion["champion"]
    assert "reaches the minimum score 50" in promotion["labels"]
    assert promotion["labels"] in promotion["reason"]


def test_labels_below_what_a_correction_needs_are_too_few(judged):
    promotion = judged(around(90), dict.fromkeys(range(5), 5), require_labels=3)
    assert not promotion["champion"]
    assert "people have labelled 5 of its scored rows, and a correction needs 10" in promotion["reason"]


def test_more_labels_than_there_are_rows_are_never_waited_for(judged):
    reason = judged(around(90), GOOD, require_labels=31)["reason"]
    assert "asks for 31 labelled rows, and 30 have a score: lower it" in reason


def test_unlabelled_champion_is_to_be_labelled_too(judged):
    judged(around(40))
    promotion = judged(around(90), GOOD, require_labels=12)
    assert not promotion["champion"]
    assert "people have labelled 0 rows for both it and version 1" in promotion["reason"]
    assert f"`touchstone label {promotion['name']}/1 --rows 12`" in promotion["reason"]


def test_scores_and_labels_must_both_be_for_it(tracking, judged):
    judged(around(40), BAD, require_labels=12, min_score=0)
    same = judged(around(90), BAD, require_labels=12)
    assert not same["champion"]
    assert "corrected by 12 rows that people labelled for both" in same["reason"]
    assert "which is not above the margin of 0" in same["reason"]
    by_scores = judged(around(40), GOOD, require_labels=12)
    assert not by_scores["champion"]
    assert "which is above the margin of 0" in by_scores["labels"]
    both = judged(around(90), GOOD, require_labels=12)
    assert both["champion"]
    tags = tracking.client.get_model_version(both["name"], str(both["version"])).tags
    assert tags["touchstone.decision.labels"] == both["labels"]
