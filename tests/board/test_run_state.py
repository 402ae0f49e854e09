"""A run's state for Watch is read from MLflow and the files beside it, whoever started the run."""

import json
import os
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import LogCreate

from flows.board import run_state
from flows.board.run_state import (
    curves_of,
    log_of,
    messages_of,
    newest_runs,
    profile_text,
    samples_of,
    stage_states,
    title_of,
)
from flows.dispatch.progress_tag import PROGRESS
from flows.process.detached import LOG_TAG
from flows.profiles.load import load_profile
from flows.server.access import credentials, required_secret
from tasks.errors import UsageError
from tasks.record.stage import MADE_BY
from tests import shared

BEGIN, SECOND = 1_800_000_000_000, 1000  # milliseconds


@pytest.fixture(scope="module")
def store(tmp_path_factory, fresh_store):
    return fresh_store(tmp_path_factory.mktemp("watched") / "mlruns")


@pytest.fixture
def begin(store):
    """Begins runs: of a pipeline, or with `parent` of a stage."""

    def make(name, parent=None, start=0, **tags):
        own = {"mlflow.runName": name}
        own |= (
            {
                "mlflow.parentRunId": parent,
                "touchstone.stage": name.split()[0],
                "touchstone.key": f"key {name}",
            }
            if parent
            else {"touchstone.kind": "pipeline", "touchstone.profile": "quickstart"}
        )
        return store.client.create_run(
            store.experiment_id, start_time=BEGIN + start * SECOND, tags=own | tags
        ).info.run_id

    return make


@pytest.fixture
def run(store, begin):
    """A run of the quickstart that is pretraining, its downloads reused."""
    run_id = begin("quickstart", **{f"{MADE_BY}download corpus": "f" * 32})
    store.client.log_dict(run_id, load_profile("quickstart").model_dump(mode="json"), "settings.json")
    rows = begin("rows", run_id, 1)
    store.client.set_terminated(rows, "FINISHED", BEGIN + 4 * SECOND)
    return store.client.get_run(run_id)


def by_label(store, run):
    return {state.label: state for state in stage_states(store, store.client.get_run(run.info.run_id))}


def test_stages_stand_in_the_order_of_the_pipeline(store, run):
    labels = [state.label for state in stage_states(store, run)]
    assert labels[:4] == ["download corpus", "download rows", "rows", "tokenize"]
    assert labels[-2:] == ["promote", "report"]


def test_stages_tell_what_was_reused_done_and_is_to_come(store, run):
    states = by_label(store, run)
    assert states["download corpus"].state == "cached"
    assert (states["rows"].state, states["rows"].seconds) == ("done", 3.0)
    assert states["report"].state == "waiting"


def test_running_stage_tells_progress_and_time_left(store, run, begin):
    told = {"done": 40, "total": 160, "count": "40/160 steps", "note": "loss 3.1", "doing": ""}
    told |= {"gone": 20.0, "left": 60.0, "at": 0.0}
    begin("pretrain", run.info.run_id, 5, **{PROGRESS: json.dumps(told)})
    pretrain = by_label(store, run)["pretrain"]
    assert pretrain.state == "running"
    assert (pretrain.progress.share, pretrain.progress.left) == (0.25, 60.0)


def test_progress_that_cannot_be_read_is_none(store, run, begin):
    begin("pretrain", run.info.run_id, 5, **{PROGRESS: '{"done": 1'})
    assert by_label(store, run)["pretrain"].progress is None


def test_stage_that_failed_says_why_and_the_rest_is_not_run(store, run, begin):
    stage = begin("tokenize", run.info.run_id, 5, **{"touchstone.error": "no <text>"})
    for run_id in (stage, run.info.run_id):
        store.client.set_terminated(run_id, "FAILED")
    states = by_label(store, run)
    assert (states["tokenize"].state, states["tokenize"].error) == ("failed", "no <text>")
    assert states["pretrain"].state == "not run"


def test_stages_beside_the_plan_come_last(store, run, begin):
    begin("judge champion", run.info.run_id, 5)
    assert stage_states(store, store.client.get_run(run.info.run_id))[-1].label == "judge champion"


def test_stages_of_settings_of_another_version_are_those_begun(store, begin):
    run_id = begin("old")
    store.client.log_dict(run_id, {"name": "old", "unknown": 1}, "settings.json")
    begin("rows", run_id, 1)
    assert [state.label for state in stage_states(store, store.client.get_run(run_id))] == ["rows"]


def test_curve_goes_on_from_the_attempt_before(store, run, begin):
    key = {"touchstone.key": "one key"}
    first = begin("pretrain", run.info.run_id, 5, **key)
    for step in (1, 2, 3):
        store.client.log_metric(first, "curves/train_loss", 9 - step, step=step)
    store.client.set_terminated(first, "KILLED")
    second = begin("pretrain", run.info.run_id, 9, **key)
    for step in (3, 4):
        store.client.log_metric(second, "curves/train_loss", step, step=step)
    (line,) = curves_of(store, run, stage_states(store, run))
    assert (line.stage, line.quantity, line.split, line.measured) == ("pretrain", "loss", "train", 4)
    assert [point[:2] for point in line.points] == [[1, 8], [2, 7], [3, 3], [4, 4]]


def test_samples_of_a_running_pretraining_are_in_its_folder(store, run, begin):
    begin("pretrain", run.info.run_id, 5)
    folder = store.work / "key pretrain" / "auxiliary"
    folder.mkdir(parents=True)
    (folder / "samples.txt").write_text("--- step 1\nfirst\n--- step 2\n<b>second\n", encoding="utf-8")
    told = samples_of(store, stage_states(store, run))
    assert told == "pretrain\n\n--- step 2\n<b>second\n--- step 1\nfirst"


def test_samples_of_a_generation_are_responses(store, run, begin):
    stage = begin("generate base", run.info.run_id, 5)
    rows = {"instruction": ["Add."], "input": [""], "response": ["4"]}
    store.client.log_table(stage, rows, "responses.json")
    store.client.set_terminated(stage, "FINISHED")
    assert samples_of(store, stage_states(store, run)) == "generate base\n\ninstruction: Add.\nresponse: 4"


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(run_state, "logs_folder", lambda: tmp_path)
    return tmp_path


def test_messages_are_the_end_of_the_log_the_last_first(begin, store, logs):
    log = logs / "run.log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)), encoding="utf-8")
    run = store.client.get_run(begin("quickstart", **{LOG_TAG: "run.log"}))
    told = messages_of(store, run).splitlines()
    assert told[:2] == ["line 4999", "line 4998"]
    assert len("\n".join(told)) <= run_state.TAIL
    assert set(map(len, told)) == {len("line 4999")}


def test_messages_of_a_run_elsewhere_say_how_to_see_them(store, run):
    assert f"touchstone logs {run.info.run_id[:8]}" in messages_of(store, run)


def test_messages_of_a_run_elsewhere_are_those_of_prefect(store, begin, monkeypatch):
    address, flow_run = shared.prefect(), uuid4()
    monkeypatch.setenv("PREFECT_API_URL", address)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", credentials(required_secret())["PREFECT_API_AUTH_STRING"])
    tag = {"touchstone.prefect_flow_run_id": str(flow_run)}
    told = [("flows.pipeline", "one"), ("tasks.data", "a library's word"), ("flows.pipeline", "<b>two")]
    logs = [
        LogCreate(
            name=name, level=20, message=text, timestamp=f"2026-11-29T10:00:0{second}Z", flow_run_id=flow_run
        )
        for second, (name, text) in enumerate(told)
    ]
    login = os.environ["PREFECT_API_AUTH_STRING"]
    with SyncPrefectClient(address, auth_string=login) as client:
        client.create_logs(logs)
    run = store.client.get_run(begin("quickstart", **tag))
    assert [line[10:] for line in messages_of(store, run).splitlines()] == ["<b>two", "one"]
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "touchstone:wrong")
    assert "touchstone logs" in messages_of(store, run)


def test_log_outside_the_folder_of_logs_is_not_read(begin, store, logs):
    secret = logs.parent / "secret"
    secret.write_text("secret", encoding="utf-8")
    for named in (str(secret), "../secret", "..", "."):
        assert log_of(store.client.get_run(begin("quickstart", **{LOG_TAG: named}))) is None


def test_profile_text_runs_again_as_it_was(run, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(profile_text(run), encoding="utf-8")
    assert load_profile(str(path)).model_dump() == load_profile("quickstart").model_dump()


def test_profile_text_of_a_run_without_settings_is_told(begin, store):
    with pytest.raises(UsageError, match="does not keep its settings"):
        profile_text(store.client.get_run(begin("bare")))


def test_newest_runs_are_pipelines_newest_first(store, begin):
    begin("later", start=2_000)
    begin("latest", start=3_000)
    assert [run.info.run_name for run in newest_runs(store)][:2] == ["latest", "later"]
    assert title_of(newest_runs(store)[0]).startswith("latest ")
