"""Several seeds on work pools: side by side where a worker takes them, here where none does.

A real server, a worker played by the test; the trainings are found, so that nothing goes to gpu-pool.
"""

import mlflow
import pytest

from flows.dispatch.results import SUMMARY
from flows.pipeline import pipeline
from flows.server.pools import Pools
from tests import shared
from tests.orchestration.sites import furnish
from tests.orchestration.test_stages_on_a_pool import CRASHED, RUNNING, Stage

ON_POOLS = Pools()
PIPELINE = "touchstone/pipeline"


class Seeds(Stage):
    """A home whose profile was trained with two seeds; its pipelines are asked for on a pool."""

    deployment = PIPELINE

    def whole(self, pools=ON_POOLS):
        """Run the profile with its seeds; gives the final state and the flow run."""
        with self.entered():
            state = pipeline(str(self.folder / "only.yaml"), pools=pools, return_state=True)
        return state, str(state.state_details.flow_run_id)

    def second(self, run):
        """The flow runs of the second seed."""
        return [child for child in self.children(run) if "seed 2" in child["name"]]

    def outcome(self, run):
        """What the run told at its end."""
        made = self.tracking_of(run)
        return mlflow.artifacts.load_dict(f"{made.info.artifact_uri}/{SUMMARY}")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder, address = tmp_path_factory.mktemp("seeds"), shared.prefect().removesuffix("/api")
    (folder / "mlruns").mkdir()
    environment = furnish(folder) | {"PREFECT_API_URL": f"{address}/api"}
    only = folder / "only.yaml"
    only.write_text(only.read_text().replace("steps: 4000", "steps: 4") + "seeds: 2\n")
    seeds = Seeds(folder, environment, address, f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    for pool in ("seeds-played", "seeds-lonely"):
        seeds.ask("POST", "work_pools/", name=pool, type="process")
    state, _ = seeds.whole(pools=None)
    assert state.type.value == "COMPLETED", state.message
    flow = seeds.ask("POST", "flows/", name="touchstone")
    seeds.ask("POST", "deployments/", name="pipeline", flow_id=flow["id"], work_pool_name="seeds-played")
    yield seeds
    made = seeds.ask("GET", f"deployments/name/{PIPELINE}")
    seeds.ask("DELETE", f"deployments/{made['id']}")


@pytest.fixture(autouse=True)
def _a_worker_lives(seeds):
    seeds.ask("POST", "work_pools/seeds-played/workers/heartbeat", name="one", heartbeat_interval_seconds=300)


def test_a_seed_that_no_worker_takes_is_taken_back_and_run_here(seeds):
    """So a pool whose only place this run has itself is not waited for."""
    state, run = seeds.whole()
    assert state.type.value == "COMPLETED", state.message
    asked, here = seeds.second(run)
    assert (asked["state_type"], here["state_type"]) == ("CANCELLED", "COMPLETED")
    assert asked["parameters"]["seed"]["number"] == 2
    assert asked["parameters"]["profile"]["pretrain"]["seed"] == 124
    assert seeds.outcome(run)["status"] == "completed"


def test_a_seed_whose_process_dies_elsewhere_is_run_here(seeds):
    with seeds.worker([RUNNING, CRASHED]):
        state, run = seeds.whole()
    assert state.type.value == "COMPLETED", state.message
    assert sorted(child["state_type"] for child in seeds.second(run)) == ["COMPLETED", "CRASHED"]


def test_seed_that_fails_elsewhere_is_told_and_the_first_is_kept(seeds):
    failed = {"type": "FAILED", "name": "Failed", "message": "pretrain: no space"}
    with seeds.worker([RUNNING, failed]):
        state, run = seeds.whole()
    assert (state.type.value, state.name) == ("FAILED", "Incomplete")
    assert "seed 2 (pretrain 124) of 2 failed: pretrain: no space. The other 1 are done" in state.message
    outcome = seeds.outcome(run)
    assert [one["status"] for one in outcome["seeds"]] == ["completed", "failed"]
    assert outcome["report"]


def test_without_a_live_worker_the_seeds_run_here(seeds):
    deployment = seeds.ask("GET", f"deployments/name/{PIPELINE}")["id"]
    seeds.ask("PATCH", f"deployments/{deployment}", work_pool_name="seeds-lonely")
    try:
        state, run = seeds.whole()
    finally:
        seeds.ask("PATCH", f"deployments/{deployment}", work_pool_name="seeds-played")
    assert state.type.value == "COMPLETED", state.message
    assert [child["state_type"] for child in seeds.second(run)] == ["COMPLETED"]
