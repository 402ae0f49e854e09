"""`touchstone run --dry-run`: what would run, why, and what it takes; nothing is started."""

import json

import pytest

from flows.dispatch.cards import Recorded
from flows.plan import Plan, plan
from flows.profiles.load import load_profile
from flows.profiles.seeds import trainings_of
from tasks.config import RowsConfig

OWN = "instructions: {sources: [{made: skills, name: s.jsonl, count: 40}]}\n"


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "own.yaml"
    path.write_text(OWN)
    return load_profile(str(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory, fresh_store, profile):
    """A store in which rows were downloaded and read for the profile."""
    tracking = fresh_store(tmp_path_factory.mktemp("plan") / "mlruns")
    tags = {"touchstone.kind": "pipeline", "touchstone.profile": "own"}
    run_id = tracking.client.create_run(tracking.experiment_id, tags=tags).info.run_id
    recorded = Recorded(tracking, run_id)
    source = recorded.stage("download", profile.instructions, "download rows")
    recorded.stage("rows", profile.rows, source=source)
    return tracking


def planned(store, profile, rows, refresh=()):
    found = Plan(store, profile, refresh)
    source = found.stage("download", profile.instructions, "download rows")
    made = found.stage("rows", rows, source=source)
    found.stage("tokenize", profile.tokenize, rows=made)
    return found.steps


def test_stage_done_before_is_cached_and_others_say_so(store, profile):
    download, rows, tokenize = planned(store, profile, profile.rows)
    assert (download.cached, rows.cached, tokenize.cached) == (True, True, False)
    assert (tokenize.reason, tokenize.seconds) == ("not done before", None)


def test_changed_setting_is_named_with_the_last_runs_time(store, profile):
    _, rows, tokenize = planned(store, profile, RowsConfig(train=0.7))
    assert (rows.cached, rows.reason, rows.same_settings) == (False, "rows.train 0.85, now 0.7", False)
    assert rows.seconds >= 0
    assert rows.bytes > 1000
    assert tokenize.reason == "not done before"


def test_what_is_asked_for_again_runs_and_so_does_what_reads_it(store, profile):
    download, rows, _ = planned(store, profile, profile.rows, ["download"])
    assert (download.reason, download.same_settings) == ("asked to be done again", True)
    assert rows.reason == "download rows not cached"


def test_planning_leaves_nothing_behind(store, profile):
    def runs():
        return len(store.client.search_runs([store.experiment_id]))

    before = runs()
    told = plan(store, profile, [])
    assert runs() == before
    cached = [step["name"] for step in told["stages"] if step["cached"]]
    assert cached == ["download rows", "rows"]
    assert told["stages"][-1]["name"] == "report"
    assert "pretrain" in told["seconds_not_known"]


def test_seeds_share_what_comes_before_training(store, profile):
    several = profile.model_copy(update={"seeds": 3})
    assert len(trainings_of(several)) == 3
    names = [step["name"] for step in plan(store, several, [])["stages"]]
    assert names.count("pretrain") == 3
    assert names.count("rows") == names.count("tokenize") == 1


def test_it_needs_no_server_and_tells_the_memory_of_the_model(touchstone, tmp_path, fresh_store, monkeypatch):
    fresh_store(tmp_path / "mlruns")
    monkeypatch.setattr("flows.server.readiness.begin_prefect", lambda: pytest.fail("it was started"))
    status, out, shown = touchstone("run", "quickstart", "--dry-run", "--json")
    assert status == 0, shown
    told = json.loads(out)
    assert {step["reason"] for step in told["stages"]} == {"not done before"}
    assert told["parameters"] == 889_984
    assert told["memory_bytes"] == 16 * 889_984
    _, out, _ = touchstone("run", "quickstart", "--dry-run")
    assert "13 of 13 stages run.\nTime: not known\nMemory: at least 14.2 MB" in out
