"""What a pipeline makes of the end of a stage on a work pool: a real server, a worker played by the test.

That real processes come to these ends is shown in `test_up.py`.
"""

import threading
from contextlib import contextmanager

import pytest

from flows.pipeline import pipeline
from flows.server.pools import Pools
from tests import shared
from tests.commands import entered
from tests.orchestration.sites import Site, furnish, until

STAGE = "pretrain/stage-pretrain-gpu"


class Stage(Site):
    """A home whose pipelines run in this process and send their training to a pool."""

    deployment = STAGE

    @contextmanager
    def entered(self, **environment):
        with entered(self.folder, self.environment | environment, f"{self.prefect}/api"):
            yield

    def pipeline(self, pools=None, refresh=(), environment=None, **pretrain):
        """Run the small profile; gives its final state and its flow run."""
        overrides = [f"pretrain.{name}={value}" for name, value in pretrain.items()]
        profile = str(self.folder / "only.yaml")
        with self.entered(**environment or {}):
            state = pipeline(profile, overrides, refresh=refresh, pools=pools or Pools(), return_state=True)
        run = str(state.state_details.flow_run_id)
        assert self.state(run) == state.type.value
        return state, run

    def trainings(self, run):
        return [child for child in self.children(run) if child["name"].endswith(": pretrain")]

    @contextmanager
    def worker(self, *scripts):
        """Takes one run after another, and brings each through the states of its script."""
        deployment = self.ask("GET", f"deployments/name/{self.deployment}")
        asked = {"deployments": {"id": {"any_": [deployment["id"]]}}}
        asked["flow_runs"] = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        failed = []

        def work():
            try:
                for script in scripts:
                    (run,) = until(lambda: self.ask("POST", "flow_runs/filter", **asked), 60)
                    for state in script:
                        self.ask("POST", f"flow_runs/{run['id']}/set_state", state=state, force=True)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            thread.join(120)
        assert not failed, failed


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The stage's deployment, on a pool with a worker that has just said that it lives."""
    folder, address = tmp_path_factory.mktemp("stage"), shared.prefect().removesuffix("/api")
    (folder / "mlruns").mkdir()
    environment = furnish(folder) | {"PREFECT_API_URL": f"{address}/api"}
    stage = Stage(folder, environment, address, f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    for pool in ("played", "lonely"):
        stage.ask("POST", "work_pools/", name=pool, type="process")
    flow = stage.ask("POST", "flows/", name="pretrain")
    stage.ask("POST", "deployments/", name="stage-pretrain-gpu", flow_id=flow["id"], work_pool_name="played")
    return stage


@pytest.fixture(autouse=True)
def _a_worker_lives(stage):
    stage.ask("POST", "work_pools/played/workers/heartbeat", name="one", heartbeat_interval_seconds=300)


RUNNING, CRASHED = {"type": "RUNNING"}, {"type": "CRASHED", "message": "the machine is on fire"}


def test_one_crash_too_many_ends_the_pipeline_with_its_reason(stage):
    with stage.worker(*[[RUNNING, CRASHED]] * 3):
        state, run = stage.pipeline(Pools(max_restarts=2), refresh=["pretrain"], seed=2)
    assert (state.type.value, state.message) == ("CRASHED", "pretrain: the machine is on fire")
    assert [child["state_type"] for child in stage.trainings(run)] == ["CRASHED"] * 3
    refreshed = [child["parameters"]["refresh"] for child in stage.trainings(run)]
    assert refreshed == [True, False, False]  # what was begun afresh is gone on with
    assert stage.mlflow_runs(run)["only"][0] == "FAILED"


def test_cancelled_training_ends_its_pipeline_cancelled(stage):
    with stage.worker([RUNNING, {"type": "CANCELLED", "message": "by a person"}]):
        state, run = stage.pipeline(seed=4)
    assert (state.type.value, state.message) == ("CANCELLED", "pretrain: by a person")
    assert len(stage.trainings(run)) == 1
    assert stage.mlflow_runs(run)["only"][0] == "KILLED"


def test_a_training_that_takes_too_long_is_cancelled(stage):
    with stage.worker([RUNNING]):
        state, run = stage.pipeline(Pools(timeout_hours=2 / 3600), seed=20)
    assert state.type.value == "FAILED"
    assert state.message.startswith("pretrain: it was not done after 0.000555556 hours and was cancelled")
    (child,) = stage.trainings(run)
    assert child["state_type"] == "CANCELLING"  # which its worker heeds
    stage.ask("POST", f"flow_runs/{child['id']}/set_state", state={"type": "CANCELLED"}, force=True)


def test_one_that_is_taken_and_never_started_is_started_again(stage):
    """And one that is done, but whose output is nowhere, is no success."""
    with stage.worker([{"type": "PENDING"}], [RUNNING, {"type": "COMPLETED"}]):
        state, run = stage.pipeline(seed=21, environment={"TOUCHSTONE_SECONDS_WORKER_AWAY": "1"})
    assert [child["state_type"] for child in stage.trainings(run)] == ["CRASHED", "COMPLETED"]
    assert state.type.value == "FAILED"
    assert f"{STAGE} is done, but its output is not in sqlite:" in state.message


def test_missing_worker_is_told_instead_of_waited_for_for_ever(stage):
    deployment = stage.ask("GET", f"deployments/name/{STAGE}")["id"]
    stage.ask("PATCH", f"deployments/{deployment}", work_pool_name="lonely")
    try:
        state, run = stage.pipeline(seed=9, environment={"TOUCHSTONE_SECONDS_WORKER_AWAY": "0.5"})
    finally:
        stage.ask("PATCH", f"deployments/{deployment}", work_pool_name="played")
    assert state.type.value == "FAILED"
    assert "no live worker on the work pool lonely" in state.message
    assert stage.mlflow_runs(run)["only"] == ("FAILED", state.message)
