"""Every failure has an end: with real servers and workers, something is killed, and what follows is told.

A pipeline ends Completed, or Failed, Crashed or Cancelled within two minutes with its reason; no MLflow run
stays RUNNING; the next run goes on; nothing half-written is ever found.
"""

import signal
import time

import psutil
import pytest

from flows.servers import answers
from flows.sweep import SPARED
from tests.orchestration.sites import until

LONG = 400_000  # steps: a training that ends only because something ends it
SOME = 2_000  # steps: seconds
ONCE_MORE = 240  # seconds for what has to be noticed, started again and trained to its end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@pytest.fixture
def training(site):
    """A factory: a pipeline on the pools whose training has kept a checkpoint; its run and the training's."""

    def start(**pretrain):
        run = site.train(**pretrain)
        child = site.child(run)
        until(lambda: site.checkpoints(child["id"]), 60)
        return run, child

    yield start
    until(lambda: not site.running_in_mlflow(), 60)


def undisturbed(site, **pretrain):
    """The digest of the same training done anew, and by nothing disturbed."""
    overrides = [word for name, value in pretrain.items() for word in ("--set", f"pretrain.{name}={value}")]
    outcome = site("run", "only.yaml", *overrides, "--refresh", "pretrain", PREFECT_API_URL="")
    (stage,) = [stage for stage in outcome["stages"] if stage["name"] == "pretrain"]
    assert not stage["cached"]
    return stage["digest"]


def digest_of(site, run):
    """Of the training that was made, by whichever of the pipeline's attempts."""
    made = [site.tracking_of(child["id"]) for child in site.children(run) if child["name"] == "pretrain"]
    (digest,) = {each.data.tags["touchstone.digest"] for each in made if each.info.status == "FINISHED"}
    return digest


def test_a_killed_training_is_started_again_and_ends_with_the_same_bits(site, training):
    run, child = training(steps=SOME, seed=1)
    psutil.Process(site.pid(child)).kill()
    assert site.end_of(run, ONCE_MORE)["type"] == "COMPLETED"
    states = [each["state_type"] for each in site.children(run) if each["name"] == "pretrain"]
    assert states == ["CRASHED", "COMPLETED"]
    assert site.mlflow_runs(run)["pretrain"][0] == site.mlflow_runs(run)["only"][0] == "FINISHED"
    assert digest_of(site, run) == undisturbed(site, steps=SOME, seed=1)


def test_a_crash_that_is_one_too_many_ends_the_pipeline_with_its_reason(site, training):
    run, child = training(steps=LONG, seed=2, crashes=0)
    psutil.Process(site.pid(child)).kill()
    ended = site.end_of(run)
    assert ended["type"] == "CRASHED"
    assert ended["message"].startswith("pretrain: ")
    assert "SIGKILL" in ended["message"] or "the process was killed" in ended["message"]
    assert site.mlflow_runs(run)["only"][0] == "FAILED"


def test_a_cancelled_pipeline_stops_its_training_within_ten_seconds(site, training):
    run, child = training(steps=LONG, seed=3)
    process = psutil.Process(site.pid(child))
    started = time.monotonic()
    site.cancel(run)
    process.wait(10)
    assert time.monotonic() - started < 10
    assert site.end_of(run, 30)["type"] == "CANCELLED"
    assert site.end_of(child["id"], 30)["type"] == "CANCELLED"
    until(lambda: not site.running_in_mlflow(), 30)
    assert {status for status, _ in site.mlflow_runs(run).values()} <= {"KILLED", "FINISHED"}
    assert site.mlflow_runs(run)["pretrain"][0] == "KILLED"


def test_a_training_that_is_cancelled_ends_its_pipeline_cancelled(site, training):
    run, child = training(steps=LONG, seed=4)
    site.cancel(child["id"])
    ended = site.end_of(run)
    assert ended["type"] == "CANCELLED"
    assert "pretrain" in ended["message"]
    until(lambda: not site.running_in_mlflow(), 30)
    kept = max(path.stem for path in site.checkpoints(child["id"]) if path.stem.startswith("step-"))
    steps = site.tracking_of(child["id"]).data.metrics["tokens"] / (4 * 32)  # a step
    assert kept == f"step-{steps:09.0f}", "the last step that it made"
    assert site.mlflow_runs(run)["only"][0] == "KILLED"


def test_a_killed_pipeline_stops_its_training(site, training):
    run, child = training(steps=LONG, seed=5)
    psutil.Process(site.pid(site.flow_run(run))).kill()
    assert site.end_of(run, 30)["type"] == "CRASHED"
    assert site.end_of(child["id"], 60)["type"] in ("CANCELLED", "CRASHED")
    until(lambda: not site.running_in_mlflow(), 60)
    assert site.mlflow_runs(run)["only"][0] == "KILLED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_goes_on_with_the_worker_that_takes_the_place_of_a_dead_one(site, training, number):
    run, _ = training(steps=SOME, seed=10 + number)
    site.process("worker start", "--pool gpu-pool").send_signal(number)
    assert site.end_of(run, ONCE_MORE)["type"] == "COMPLETED"
    states = [each["state_type"] for each in site.children(run) if each["name"] == "pretrain"]
    assert states == ["CRASHED", "COMPLETED"]


def test_a_prefect_server_that_is_killed_and_comes_back_is_waited_for(site, training):
    run, _ = training(steps=SOME, seed=6)
    site.process("prefect_app").kill()
    until(lambda: answers(f"{site.prefect}/api/health"), 60)
    assert site.end_of(run, ONCE_MORE)["type"] == "COMPLETED"


def test_a_mlflow_server_that_is_killed_and_comes_back_is_waited_for(site, training):
    run, _ = training(steps=SOME, seed=7)
    site.process("mlflow", "server").kill()
    assert site.end_of(run, ONCE_MORE)["type"] == "COMPLETED"


def test_sweeps_that_are_asked_for_together_are_one(site):
    """A process for each would keep a machine busy for minutes after every crash."""
    runs = [site.run("touchstone-sweep/sweep") for _ in range(4)]
    ends = [site.end_of(run) for run in runs]
    done = [end for end in ends if end["type"] == "COMPLETED"]
    spared = [end for end in ends if (end["type"], end["message"]) == ("CANCELLED", SPARED)]
    assert len(done) <= 1  # none, where an earlier trial's sweep was about to begin
    assert len(done) + len(spared) == 4, ends


def test_two_pipelines_with_the_same_key_train_once(site):
    runs = [site.train(steps=SOME, seed=8) for _ in range(2)]
    assert [site.end_of(run, ONCE_MORE)["type"] for run in runs] == ["COMPLETED"] * 2
    made = [name for run in runs for name in site.mlflow_runs(run) if name == "pretrain"]
    assert made == ["pretrain"]


def test_ctrl_c_at_the_terminal_that_follows_cancels_the_run(site):
    command = site.start("run", "only.yaml", "--pools", "--json", "--set", f"pretrain.steps={LONG}")
    until(lambda: "pretrain" in site.running_in_mlflow(), 90)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert '"interrupted"' in out
    assert "Traceback" not in err
    until(lambda: not site.running_in_mlflow(), 30)


def test_a_training_that_takes_too_long_is_cancelled(site):
    pools = {"timeout_hours": 15 / 3600}
    profile, overrides = str(site.folder / "only.yaml"), [f"pretrain.steps={LONG}", "pretrain.seed=20"]
    run = site.run("touchstone/pipeline", profile=profile, overrides=overrides, pools=pools)
    child = site.child(run)
    ended = site.end_of(run, 60)
    assert ended["type"] == "FAILED"
    assert ended["message"].startswith("pretrain: it was not done after 0.00416667 hours and was cancelled")
    assert site.end_of(child["id"], 30)["type"] == "CANCELLED"
    until(lambda: not site.running_in_mlflow(), 30)


def test_without_a_live_worker_it_says_so_instead_of_waiting_for_ever(site):
    site.ask("PATCH", "work_pools/gpu-pool", is_paused=False)
    deployment = site.ask("GET", "deployments/name/pretrain/pretrain-gpu")
    pool = {"name": "lonely", "type": "process"}
    site.ask("POST", "work_pools/", **pool)
    site.ask("PATCH", f"deployments/{deployment['id']}", work_pool_name="lonely")
    try:
        run = site.train(steps=3, seed=9)
        ended = site.end_of(run)
    finally:
        site.ask("PATCH", f"deployments/{deployment['id']}", work_pool_name="gpu-pool")
    assert ended["type"] == "FAILED"
    assert "no live worker on the work pool lonely" in ended["message"]
    assert site.mlflow_runs(run)["only"] == ("FAILED", ended["message"])
