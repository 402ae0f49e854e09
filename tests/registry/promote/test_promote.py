"""Promotion: what is registered can be used and traced, and only a proven gain moves the champion."""

import json
import socket

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from tasks.config import GenerateConfig, JudgeConfig
from tasks.machine.digests import sha256_of
from tasks.machine.json_files import write_json
from tasks.models.gpt import GPT
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute, find
from tasks.record.tracking import local_folder
from tasks.record.work import Stage, Work
from tasks.registry.promote.candidate import read_scores
from tasks.registry.versions import champion_of, registered_files, still_registered
from tasks.tokenize.templates import load_template
from tests.registry.promote.promoting import (
    JUDGE,
    LINEAGE,
    QUESTIONS,
    SCORER,
    Made,
    around,
    asked,
    judged,
    made,
    versions_named,
)

NO_AUDIT = "; preflight passed, no audit needed (metrics alone)"


# Who becomes the champion


@pytest.mark.logs_models
def test_the_first_model_is_candidate_and_champion(tracking, promoted):
    promotion = promoted([40.0] * 30)
    files = promotion.pop("files")
    assert promotion.pop("sealed_low") <= 40 <= promotion.pop("sealed_high")
    assert "model/model.safetensors" in files
    assert promotion == {
        "name": promoted.name,
        "version": 1,
        "champion": True,
        "reason": f"the first champion: its mean 40.0 on 6 gate rows reaches the minimum score 10{NO_AUDIT}",
        "scorer": SCORER,
        "mean": 40.0,
        "min_score": 10.0,
        "margin": 0.0,
        "preflight": "passed",
        "audit": "not needed: metrics alone",
        "against": None,
        "anew": None,
        "leaked": 0,
        "difference": None,
        "low": None,
        "high": None,
        "level": None,
        "part": "gate",
        "part_rows": 6,
        "sealed_mean": 40.0,
        "openings": 0,
        "budget_left": 0.05,
        "labels": None,
    }
    assert versions_named(tracking, promoted.name) == {"candidate": 1, "champion": 1}


@pytest.mark.parametrize("other", [{"digest": "b" * 64}, {"prompt": "2"}])
def test_scores_of_another_model_of_that_name_are_not_compared(promoted, other):
    """Regression: the same weights became champion over themselves, by a judge that was another."""
    assert promoted(around(40), scorer=JUDGE, judge=judged())["champion"]
    promotion = promoted(around(90), scorer=JUDGE, judge=judged(**other))
    assert not promotion["champion"]
    assert "its scores came about under other conditions (" in promotion["reason"]
    assert (
        " of ollama:llama3.2: " in promotion["reason"] or " behind ollama:llama3.2: " in promotion["reason"]
    )
    assert promoted(around(90), scorer=JUDGE, judge=judged())["champion"]


def test_a_judge_that_counts_by_override_makes_no_champion(promoted):
    promotion = promoted(around(90), scorer=JUDGE, judge=judged(verdict="fail", despite_audit=True))
    assert not promotion["champion"]
    assert "failed its audit; its scores count by override" in promotion["reason"]
    assert promoted(around(40), scorer=JUDGE, judge=judged(despite_audit=True))["champion"]


def test_a_first_model_below_the_least_score_stays_a_candidate(tracking, promoted):
    promotion = promoted([40.0] * 30, min_score=40.1)
    told = "kept as candidate: its mean 40.0 on 6 gate rows is below the minimum score 40.1"
    assert promotion["reason"] == told
    assert promotion["sealed_mean"] is None
    assert versions_named(tracking, promoted.name) == {"candidate": 1}
    assert promoted([40.0] * 30, min_score=40)["champion"], "a candidate is no champion to be compared with"
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 2}


def test_the_best_of_several_seeds_is_not_promoted_for_its_luck(tracking, promoted):
    """Pitfall 36: only the first seed, fixed before any was scored, is compared; others are registered."""
    promoted(around(40))
    for score in (60, 90):
        promotion = promoted(around(score), eligible=False)
        assert not promotion["champion"]
        assert promotion["difference"] is None
        assert "of several seeds the first, fixed before any was scored" in promotion["reason"]
    assert versions_named(tracking, promoted.name) == {"candidate": 1, "champion": 1}


def test_a_better_model_becomes_the_champion(tracking, promoted):
    promoted(around(40))
    promotion = promoted([score + 30 + index % 3 for index, score in enumerate(around(40))])
    assert (promotion["champion"], promotion["version"], promotion["against"]) == (True, 2, "version 1")
    assert 9 < promotion["low"] < 13 < 30 < promotion["difference"] < 32 < promotion["high"] < 43
    assert promotion["reason"].startswith("champion: +3")
    assert " points against version 1 (96.2% +" in promotion["reason"]
    assert "on 24 sealed rows), which is above the margin of 0; " in promotion["reason"]
    assert promotion["reason"].endswith(NO_AUDIT)
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 2}


@pytest.mark.parametrize(
    "scores",
    [
        around(40),
        [score + 9 * (-1) ** (index // 2) for index, score in enumerate(around(40, rows=28))] + [52, 42],
        around(39),
    ],
    ids=["equal", "better by chance", "worse"],
)
def test_a_model_that_is_not_proven_better_stays_a_candidate(tracking, promoted, scores):
    promoted(around(40))
    promotion = promoted(scores)
    assert not promotion["champion"]
    assert promotion["low"] <= 0
    told = f"kept as candidate: {promotion['difference']:+.1f} points against version 1"
    assert promotion["reason"].startswith(told)
    assert "which is not a standard error above the margin of 0; " in promotion["reason"]
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 1}


def test_rows_are_compared_in_pairs(promoted):
    """Rows that are hard for both do not blur a gain that every one of them shows."""
    promoted(around(40, spread=40))
    assert promoted([score + 20 for score in around(40, spread=40)], margin=1)["champion"]


def test_a_gain_within_the_margin_is_not_enough(promoted):
    promoted(around(40))
    better = [score + 30 for score in around(40)]
    assert "which is not a standard error above the margin of 30; " in promoted(better, margin=30)["reason"]
    assert "), which is not above the margin of 12; " in promoted(better, margin=12)["reason"]
    assert promoted(better, margin=5)["champion"]


@pytest.mark.parametrize("other", [{"scorer": "ollama:llama3.2"}, {"rows": 31}], ids=["scorer", "rows"])
def test_scores_of_another_kind_are_not_compared(tracking, promoted, other):
    """Pitfall 23: a higher number by another scorer, or on other rows, proves nothing."""
    promoted(around(40))
    promotion = promoted(around(90), **other)
    assert (promotion["champion"], promotion["difference"]) == (False, None)
    told = "kept as candidate: not compared with the champion (version 1): its scores came about under other"
    assert promotion["reason"].startswith(f"{told} conditions ({next(iter(other))}: ")
    assert promotion["reason"].endswith(
        "; and it was not scored anew. Run its profile again with --refresh promote"
    )
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 1}


def test_a_model_without_a_mean_is_never_champion(tracking, promoted):
    promotion = promoted([100.0] * 20 + [None] * 10, mean=None)
    assert not promotion["champion"]
    assert promotion["reason"] == ("kept as candidate: metric:chrf left too many rows without a score")
    assert versions_named(tracking, promoted.name) == {"candidate": 1}
    tags = tracking.client.get_model_version(promoted.name, "1").tags
    assert tags["touchstone.mean"] == "missing"


def test_missing_rows_leave_both_sides_of_the_difference(promoted):
    """Pitfall 21: a row that one of them has no score for is no point for the other."""
    promoted([None, *around(40, rows=29)])
    promotion = promoted([100.0, None, *[score + 3 for score in around(40, rows=29)[1:]]])
    assert promotion["difference"] == pytest.approx(3)


def test_a_gain_that_missing_rows_might_undo_makes_no_champion(promoted):
    """Regression: rows without a score were left out, so that a candidate gained by failing on hard ones."""
    promoted(around(40))
    better = [score + 25 for score in around(40)]
    promotion = promoted([None] * 5 + better[5:])
    assert not promotion["champion"]
    assert promotion["difference"] == pytest.approx(25)
    assert promotion["low"] < 0
    whatever = (
        "on 20 sealed rows, whatever the 4 rows without both scores would have had), which is not above"
    )
    assert whatever in promotion["reason"]
    assert promoted(better)["champion"]


def test_five_rows_each_one_point_better_make_no_champion(promoted):
    """Pitfall 34: regression: equal differences had an interval of 1 to 1, and five rows were enough."""
    promoted([50.0] * 5, rows=5)
    assert not promoted([51.0] * 5, rows=5)["champion"]
    promotion = promoted([51.0] * 5, rows=5, min_rows=5)
    assert not promotion["champion"]
    assert promotion["low"] < 1 < promotion["high"]


def make_answers(config, run, *, model):
    write_json(run.out / "summary.json", {"made": run.run_id})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"generate": 3}, "version of the generate stage: 3, was 2"),
        ({"judge": 9}, "version of the judge stage: 9, was 6"),
        ({"max_new_tokens": 64}, "max_new_tokens: 64, was 256"),
        ({"template": "phi3"}, None),
        ({"batch_tokens": 99}, None),
    ],
)
def test_scores_under_other_conditions_are_not_compared(tracking, promoted, changed, told):
    """Regression: a change of the decoding, or of a stage, was a gain of the model."""
    rows = made(tracking, "rows", 30)

    def scored(seed, points, generate=2, judge=6, **settings):
        answers = Stage("generate", generate, f"{__name__}:make_answers")
        responses = execute(tracking, Work(answers, GenerateConfig(**settings), {"model": seed}))
        config = Made(what=json.dumps([SCORER, 50, around(points), None]))
        stage = Stage("judge", judge, "tests.registry.promote.promoting:make_judged")
        scores = execute(tracking, Work(stage, config, {"responses": responses}))
        return {"model": seed, "rows": rows, "scores": scores}

    promoted(inputs=scored(made(tracking, "model", [901, None]), 40))
    promotion = promoted(inputs=scored(made(tracking, "model", [902, None]), 90, **changed))
    if told is None:
        assert promotion["champion"]
    else:
        assert not promotion["champion"]
        assert promotion["difference"] is None
        assert promotion["reason"].startswith(
            "kept as candidate: not compared with the champion (version 1): its scores came about under "
            f"other conditions ({told})"
        )


def test_models_without_a_row_in_common_are_not_compared(promoted):
    promoted([90.0] * 15 + [None] * 15)
    promotion = promoted([None] * 15 + [99.0] * 15)
    assert not promotion["champion"]
    assert promotion["reason"] == (
        "kept as candidate: 0 gate rows have a score of both it and version 1; a comparison needs 2"
    )


def test_next_model_is_the_first_after_the_champion_was_deleted(tracking, promoted):
    promoted(around(90))
    tracking.client.delete_model_version(promoted.name, "1")
    assert champion_of(tracking, promoted.name) is None
    assert promoted(around(40))["reason"].startswith("the first champion")


def test_a_champion_whose_scores_are_gone_is_not_beaten(tracking, promoted):
    promoted(around(40))
    (fetch(tracking, promoted.inputs["scores"]) / OUTPUT / "scores.jsonl").unlink()
    promotion = promoted(around(90))
    assert not promotion["champion"]
    assert "not compared with the champion (version 1): its scores are lost" in promotion["reason"]
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 1}


def test_the_scores_of_the_judge_are_those_that_are_read(tracking):
    responses = made(tracking, "responses", ["City0 学", "no", ""])
    judged = execute(
        tracking,
        Work(
            Stage("judge", 1, "tasks.judge.score.stage:judge"),
            JudgeConfig(scorer=SCORER, resamples=100),
            {"responses": responses},
        ),
    )
    headline, entry, scores = read_scores(fetch(tracking, judged) / OUTPUT)
    assert headline == SCORER
    assert list(scores) == [100, 101, 102]
    assert (scores[100], scores[102]) == (100, 0)
    assert entry["mean"] == pytest.approx(sum(scores.values()) / 3)


# What is registered


@pytest.mark.logs_models
def test_a_version_says_what_it_was_made_from(tracking, promoted):
    promoted(around(40))
    version = tracking.client.get_model_version(promoted.name, "1")
    decided = {name: version.tags.pop(name) for name in list(version.tags) if "decision" in name}
    promotion = json.loads(version.tags.pop("touchstone.promotion"))
    assert version.tags == LINEAGE | {
        "touchstone.key": promoted.reference.key,
        "touchstone.files": json.dumps(registered_files(version.source)),
        "touchstone.model": promoted.inputs["model"].model_dump_json(),
        "touchstone.sha256.model": promoted.inputs["model"].digest,
        "touchstone.sha256.rows": promoted.inputs["rows"].digest,
        "touchstone.sha256.scores": promoted.inputs["scores"].digest,
        "touchstone.rows": promoted.inputs["rows"].digest,
        "touchstone.tokenizer": sha256_of(
            fetch(tracking, promoted.inputs["model"]) / OUTPUT / "model" / "tokenizer.json"
        ),
        "touchstone.scores": promoted.inputs["scores"].model_dump_json(),
        "touchstone.scorer": SCORER,
        "touchstone.mean": "40.0000",
    }
    assert decided["touchstone.decision"] == promotion["reason"]
    assert (promotion["name"], promotion["version"]) == (promoted.name, 1)
    run = tracking.client.get_run(promoted.reference.run_id)
    assert version.run_id == run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["touchstone.digest"] == promoted.reference.digest


@pytest.mark.logs_models
def test_what_is_registered_names_no_folder_of_this_machine(tracking, promoted):
    promoted(around(40))
    version = tracking.client.get_model_version(promoted.name, "1")
    folder = local_folder(version.source)
    where = folder.as_uri()  # MLflow's own word for where the model is kept
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes().replace(where.encode(), b"")
        assert str(tracking.root).encode() not in content, path.name
    assert "random weights" in (folder / "LICENSE.txt").read_text()
    assert f"models:/{promoted.name}/1" in version.description
    assert (
        f"models:/{promoted.name}@champion" in tracking.client.get_registered_model(promoted.name).description
    )


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.logs_models
def test_the_champion_loads_by_its_alias_and_generates_offline(tracking, promoted, no_network):
    promoted(around(40))
    uri = f"models:/{promoted.name}@champion"
    pipeline = mlflow.transformers.load_model(uri)
    prompt = load_template("phi3", pipeline.tokenizer).prompt(QUESTIONS[0])
    (answer,) = pipeline(prompt, max_new_tokens=4, do_sample=False)
    assert answer["generated_text"].startswith(prompt)
    ours = GPT.load(fetch(tracking, promoted.inputs["model"]) / OUTPUT / "model")
    ids = pipeline.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    expected = pipeline.tokenizer.decode(ours.continue_greedily(ids, 4)[0], skip_special_tokens=True)
    assert answer["generated_text"] == expected


@pytest.mark.logs_models
def test_the_model_has_a_signature_an_example_and_its_template(tracking, promoted):
    promoted(around(40))
    info = mlflow.models.get_model_info(f"models:/{promoted.name}@champion")
    assert [column.type.name for column in info.signature.inputs] == ["string"]
    assert [column.type.name for column in info.signature.outputs] == ["string"]
    assert info.metadata["template"] == "phi3"
    model = mlflow.models.Model.load(f"models:/{promoted.name}@champion")
    assert asked(QUESTIONS[0]) in json.dumps(model.load_input_example(), ensure_ascii=False).replace(
        "\\n", "\n"
    )


# The record of a promotion


@pytest.mark.logs_models
def test_promotion_is_done_again_when_registered_files_are_gone(tracking, promoted):
    promoted(around(40))
    assert find(tracking, promoted.work) == promoted.reference
    folder = local_folder(tracking.client.get_model_version(promoted.name, "1").source)
    (folder / "model" / "model.safetensors").unlink()
    assert find(tracking, promoted.work) is None


@pytest.mark.logs_models
def test_a_promotion_is_done_again_when_its_version_was_deleted(tracking, promoted):
    promotion = promoted(around(40))
    output = fetch(tracking, promoted.reference) / OUTPUT
    assert still_registered(tracking, output)
    assert find(tracking, promoted.work) == promoted.reference
    tracking.client.delete_model_version(promoted.name, str(promotion["version"]))
    assert not still_registered(tracking, output)
    assert find(tracking, promoted.work) is None


def test_a_promotion_is_done_again_when_its_model_was_deleted(tracking, promoted):
    promoted(around(40))
    tracking.client.delete_registered_model(promoted.name)
    assert not still_registered(tracking, fetch(tracking, promoted.reference) / OUTPUT)


def test_a_registry_that_cannot_be_asked_is_not_an_empty_one(tracking, promoted, monkeypatch):
    promoted(around(40))

    def broken(*_):
        raise MlflowException("the database is locked")

    monkeypatch.setattr(type(tracking.client), "get_model_version", broken)
    monkeypatch.setattr(type(tracking.client), "get_model_version_by_alias", broken)
    with pytest.raises(MlflowException, match="locked"):
        still_registered(tracking, fetch(tracking, promoted.reference) / OUTPUT)
    with pytest.raises(MlflowException, match="locked"):
        champion_of(tracking, promoted.name)


def test_what_registering_does_is_told(promoted):
    """With a large model each of these takes minutes."""
    promoted([60.0] * 30)
    assert promoted.told == [
        "checking the files of made-model",
        "checking the files of made-rows",
        "checking the files of made-scores",
        "loading its libraries",
        "logging the model to MLflow",
        "hashing the registered files",
        "deciding whether it is the champion",
        "keeping the output, and its digests",
    ]
