"""`touchstone run --seeds N`: one recipe, trained several times."""

import re

import pytest

import tasks.finetune.sft
from tasks.errors import StageError
from tests.integration.conftest import workplace_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHARED = {"download corpus", "download rows", "rows", "tokenize", "preflight rows"}
TRAINED = {"pretrain", "finetune", "generate base", "judge base", "generate fine-tuned", "judge fine-tuned"}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A workplace in which the tiny profile was trained with two seeds; tests may add to it."""
    workplace = workplace_in(tmp_path_factory.mktemp("two-seeds"))
    result = workplace("run", "tiny.yaml", "--seeds", "2", "--json")
    assert result.status == 0, result.err
    return workplace, result.json


def cached(outcome):
    return {stage["name"] for stage in outcome["stages"] if stage["cached"]}


def test_shared_stages_run_once_and_each_seed_has_its_own_run(two):
    workplace, outcome = two
    assert {stage["name"] for stage in outcome["stages"]} == SHARED | {"seeds", "report"}
    assert not cached(outcome)
    assert [one["seeds"] for one in outcome["seeds"]] == [
        {"pretrain": 123, "finetune": 123},
        {"pretrain": 124, "finetune": 124},
    ]
    for one in outcome["seeds"]:
        assert one["status"] == "completed"
        assert cached(one) == SHARED
        assert {stage["name"] for stage in one["stages"]} == SHARED | TRAINED | {"promote", "report"}
    rows = {stage["digest"] for one in outcome["seeds"] for stage in one["stages"] if stage["name"] == "rows"}
    assert len(rows) == 1
    weights = {
        stage["digest"] for one in outcome["seeds"] for stage in one["stages"] if stage["name"] == "pretrain"
    }
    assert len(weights) == 2
    tracking = workplace.store()
    for one in outcome["seeds"]:
        run = tracking.client.get_run(one["run_id"])
        assert run.data.tags["mlflow.parentRunId"] == outcome["run_id"]
        assert run.data.tags["touchstone.profile"] == "tiny"
        assert run.info.run_name == f"tiny seed {one['number']}"
    assert tracking.client.get_run(outcome["run_id"]).data.tags["touchstone.kind"] == "seeds"


def test_the_summary_is_of_all_seeds(two):
    _, outcome = two
    by_seed = [
        [entry for entry in one["scores"] if entry["scorer"] == "metric:chrf"] for one in outcome["seeds"]
    ]
    for place, entry in enumerate(one for one in outcome["scores"] if one["scorer"] == "metric:chrf"):
        means = [own[place]["mean"] for own in by_seed]
        assert entry["by_seed"] == pytest.approx(means)
        assert entry["mean"] == pytest.approx(sum(means) / 2)
        assert entry["low"] <= entry["rows_low"] <= entry["mean"] <= entry["rows_high"] <= entry["high"]
        assert entry["rows"] == entry["scored"] + entry["missing"] == 6
    assert outcome["losses"]["sd"] > 0
    assert outcome["model"]["version"] == 1


def test_only_the_first_is_named_the_candidate(two):
    workplace, _ = two
    (model,) = workplace("models", "--json").json["models"]
    versions = {version["version"]: version for version in model["versions"]}
    assert versions[1]["aliases"] == ["candidate"]
    assert versions[2]["aliases"] == []
    assert "of several seeds the first" in versions[2]["decision"]


def test_report_covers_all_seeds_and_each_seed_has_its_own(two):
    workplace, outcome = two
    newest = workplace("report")
    assert "2 seeds: the interval covers rows and training" in " ".join(newest.out.split())
    assert workplace("report", outcome["run_id"]).out == newest.out
    alone = workplace("report", outcome["seeds"][1]["run_id"])
    assert "one seed: the interval covers rows, not training" in " ".join(alone.out.split())
    assert "reused" not in newest.out


def test_first_seed_is_the_profile_and_more_seeds_add_to_it(two):
    workplace, outcome = two
    alone = workplace("run", "tiny.yaml", "--json", "--seeds", "1")
    assert all(alone.cached.values())
    again = workplace("run", "tiny.yaml", "--json", "--set", "seeds=2").json
    assert all(stage["cached"] for one in again["seeds"] for stage in one["stages"])
    assert again["scores"] == outcome["scores"]


def test_two_recipes_are_compared_over_their_seeds(two):
    workplace, outcome = two
    group, seed = outcome["run_id"], outcome["seeds"][1]["run_id"]
    found = workplace("compare", group, f"{group}:base", "--json")
    assert found.status == 0, found.err
    headline = found.json["differences"][0]
    assert (headline["seeds"]["a"], headline["seeds"]["b"]) == (2, 2)
    assert found.json["a"] == "tiny fine-tuned, 2 seeds"
    assert headline["difference"] == pytest.approx(
        sum(one["difference"] for one in outcome["differences"] if one["scorer"] == "metric:chrf")
    )
    against_one = workplace("compare", group, seed)
    assert "of training that of A alone" in " ".join(against_one.out.split())
    both_shown = workplace("compare", group, seed, "--pairwise", "--judge", "ollama:llama3.2")
    assert both_shown.status == 2
    assert "has one of each seed for every row" in both_shown.err


@pytest.fixture
def failing(monkeypatch):
    """Makes the fine-tuning of one seed end with an error."""

    def fail(seed, error):
        whole = tasks.finetune.sft.finetune

        def finetune(config, run, **inputs):
            if config.seed == seed:
                raise error
            whole(config, run, **inputs)

        monkeypatch.setattr(tasks.finetune.sft, "finetune", finetune)

    return fail


@pytest.mark.slow
def test_failed_seed_does_not_lose_the_others_and_is_resumed(make_workplace, failing, monkeypatch):
    workplace = make_workplace("failing")
    failing(124, StageError("the machine is on fire"))
    broken = workplace("run", "tiny.yaml", "--seeds", "3", "--json")
    assert broken.status == 1
    outcome = broken.json
    assert outcome["status"] == "failed"
    assert [one["status"] for one in outcome["seeds"]] == ["completed", "failed", "completed"]
    told = "seed 2 (pretrain 124, finetune 124) of 3 failed: finetune: the machine is on fire. "
    assert outcome["error"].startswith(told + "The other 2 are done and kept. Run again")
    assert "Traceback" not in broken.err
    assert outcome["model"]["version"] == 1
    assert "2 of 3 seeds" in workplace("report", outcome["run_id"]).out
    assert workplace.store().client.get_run(outcome["run_id"]).info.status == "FAILED"
    monkeypatch.undo()
    whole = workplace("run", "tiny.yaml", "--seeds", "3", "--json")
    assert whole.status == 0, whole.err
    first, second, third = whole.json["seeds"]
    assert cached(first) == {stage["name"] for stage in first["stages"]}
    assert cached(third) == {stage["name"] for stage in third["stages"]}
    assert cached(second) == SHARED | {"pretrain"}


@pytest.mark.slow
def test_where_every_seed_fails_there_is_no_card(make_workplace, monkeypatch):
    workplace = make_workplace("hopeless")

    def finetune(config, run, **inputs):
        raise StageError("no")

    monkeypatch.setattr(tasks.finetune.sft, "finetune", finetune)
    result = workplace("run", "tiny.yaml", "--seeds", "2", "--json")
    assert result.status == 1
    assert result.json["report"] is None
    assert [one["status"] for one in result.json["seeds"]] == ["failed", "failed"]
    assert "are done" not in result.json["error"]


@pytest.mark.slow
def test_killed_in_the_second_seed_it_goes_on_there(make_workplace):
    workplace = make_workplace("killed-in-two")
    longer = ("--set", "pretrain.steps=1000", "--set", "pretrain.eval_every=100")
    arguments = ("run", "tiny.yaml", "--seeds", "2", "--json", *longer)
    workplace.killed_in_training(*arguments, after="seed 2")
    result = workplace(*arguments)
    assert result.status == 0, result.err
    first, second = result.json["seeds"]
    assert all(stage["cached"] for stage in first["stages"])
    assert re.search(r"pretrain: resumes at step \d+ of 1000", result.err)
    assert not [stage for stage in second["stages"] if stage["cached"] and stage["name"] not in SHARED]
