"""`touchstone up` and `deploy`, and a pipeline on their pools, as a person meets them."""

import json
import signal
from contextlib import contextmanager

import pytest

from tests.orchestration.sites import Site, started_up, stop, until

STAGES = ["download corpus", "tokenize", "pretrain", "report"]


def test_deploying_again_changes_nothing(site):
    assert set(site.deployed.values()) <= {"created", "unchanged"}  # `up` has made the pools
    assert set(site("deploy").values()) == {"unchanged"}
    assert site.deployed.keys() >= {
        "work pool gpu-pool",
        "deployment touchstone/nightly",
        "deployment pretrain/pretrain-gpu",
        "automation touchstone: crash silent runs",
        "automation touchstone: crash runs that do not start",
        "automation touchstone: end cancellations",
        "automation touchstone: sweep after a crash",
    }


def test_schedules_sleep_until_they_are_asked_for_and_stay_as_they_are(site):
    def awake(name="touchstone/nightly"):
        (schedule,) = site.ask("GET", f"deployments/name/{name}")["schedules"]
        assert schedule["schedule"]["timezone"] == "UTC"
        return schedule["active"]

    assert not awake()
    assert site("deploy", "--activate", "nightly")["deployment touchstone/nightly"] == "updated"
    assert awake()
    assert not awake("touchstone-audit/weekly-audit")
    assert set(site("deploy").values()) == {"unchanged"}
    assert awake()
    site("deploy", "--deactivate", "nightly")
    assert not awake()


def test_the_form_of_a_deployment_has_titles_defaults_and_help(site):
    def form(name):
        return site.ask("GET", f"deployments/name/{name}")["parameter_openapi_schema"]

    pipeline = form("touchstone/pipeline")["properties"]
    assert pipeline["profile"]["title"] == "Profile"
    assert pipeline["profile"]["default"] == "quickstart"
    assert all(field["description"] for field in pipeline.values())
    definitions = form("pretrain/pretrain-gpu")["definitions"]["PretrainConfig"]["properties"]
    assert definitions["steps"]["default"] > 0
    assert definitions["device"]["description"].startswith("auto: the first CUDA device")
    assert form("rows/rows-cpu")["properties"]["config"]["description"] == "what rows is to do"


def test_a_pipeline_on_the_pools_trains_on_the_gpu_pool_and_is_told_as_here(site):
    outcome = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=4")
    assert [stage["name"] for stage in outcome["stages"]] == STAGES
    assert outcome["status"] == "completed"
    (parent,) = site.ask(
        "POST", "flow_runs/filter", flow_runs={"name": {"any_": ["only"]}}, limit=1, sort="START_TIME_DESC"
    )
    children = {child["name"]: child["work_pool_name"] for child in site.children(parent["id"])}
    assert parent["work_pool_name"] == "cpu-pool"
    assert children == {"pretrain": "gpu-pool", **dict.fromkeys(set(STAGES) - {"pretrain"})}
    again = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=4")
    assert all(stage["cached"] for stage in again["stages"])
    here = site("run", "only.yaml", "--set", "pretrain.steps=4")
    assert [stage["digest"] for stage in here["stages"]] == [stage["digest"] for stage in outcome["stages"]]


def test_the_flow_run_and_its_mlflow_run_name_each_other(site):
    run = site.train(steps=5)
    assert site.end_of(run)["type"] == "COMPLETED"
    links = site.ask("POST", "artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
    (link,) = [artifact["data"] for artifact in links if artifact["key"] == "mlflow-run"]
    assert site.mlflow in link
    tracking = until(lambda: site.tracking_of(run), 10)
    assert f"/flow-run/{run})" in tracking.data.tags["mlflow.note.content"]
    assert tracking.info.run_id in link


def test_a_failure_on_a_pool_is_told_as_here(site):
    """The child's own words, its label before them, and the status of a failed stage."""
    command = site.start("run", "only.yaml", "--pools", "--json", "--set", "pretrain.context=65536")
    out, err = command.communicate(timeout=120)
    assert command.returncode == 1, err
    told = json.loads(out)
    assert told["status"] == "failed"
    assert told["error"].startswith("pretrain: ")
    assert "tokens" in told["error"]
    assert "FailedRun" not in told["error"]
    assert "--verbose" not in told["error"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_takes_everything_down_and_leaves_no_run_running(tmp_path):
    """SIGTERM ends the other trials' `up`."""
    site = started_up(tmp_path)
    with ended_at_last(site):
        site("deploy")
        run = site.train(steps=400_000)
        training = site.child(run)
        until(lambda: site.checkpoints(training["id"]), 60)
        assert stop(site.processes[0], signal.SIGINT) == 0, (tmp_path / "up.log").read_text()
    assert Site.ended_runs(tmp_path) == {"only": "KILLED", "pretrain": "KILLED"}
    again = started_up(tmp_path)
    with ended_at_last(again):
        states = again.ask("POST", "flow_runs/filter", flow_runs={"name": {"any_": ["only", "pretrain"]}})
        assert {state["state_type"] for state in states} == {"CANCELLED"}
        assert stop(again.processes[0]) == 0


@contextmanager
def ended_at_last(site):
    """A trial that fails leaves no servers behind."""
    try:
        yield
    finally:
        if site.processes[0].poll() is None:
            stop(site.processes[0])
