"""`touchstone up` and `deploy`, and pipelines on their pools: as a person meets them, and as they fail.

All trials share one `up`. Every failure has an end: something real is killed, and what follows is told.
A pipeline ends Completed, or Failed, Crashed or Cancelled with its reason; no MLflow run stays RUNNING; the
next run goes on; nothing half-written is ever found. What a pipeline makes of the end of a stage is in
`test_stages_on_a_pool.py`.
"""

import json
import signal

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.profiles.load import profile_names
from flows.server.reaper import SPARED
from flows.server.servers import answers, job_variables
from tests import shared
from tests.commands import LOGIN
from tests.orchestration.attacks import REBOUND, attack
from tests.orchestration.sites import ENDED, stop, until

STAGES = ["download corpus", "tokenize", "pretrain", "report"]
LONG = 400_000  # steps: a training that ends only because something ends it
ENOUGH = 8_000  # steps: a training that outlasts five faults
AT_LAST = 480  # seconds for what has to be noticed, started again and trained to its end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_deploying_again_changes_nothing(site):
    assert set(site.deployed.values()) <= {"created", "unchanged"}  # `up` has made the pools
    assert set(site("deploy").values()) == {"unchanged"}
    assert site.deployed.keys() >= {
        "work pool gpu-pool",
        "deployment touchstone/nightly",
        "deployment pretrain/stage-pretrain-gpu",
        "automation touchstone: crash silent runs",
        "automation touchstone: crash runs that do not start",
        "automation touchstone: end cancellations",
        "automation touchstone: reap after a crash",
    }


def test_schedules_sleep_until_asked_for_and_stay_as_they_are(site):
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


def test_busy_server_is_asked_again_until_all_is_deployed(site, monkeypatch):
    """Whatever is asked for first, and soon: six refusals in a minute were once all that it asked."""
    asked, send = set(), SyncPrefectClient.request

    def busy(client, method, path, **given):
        if (what := str((method, path, given))) not in asked:
            asked.add(what)
            busy = httpx.Response(503, request=httpx.Request(method, "http://prefect"))
            raise httpx.HTTPStatusError("busy", request=busy.request, response=busy)
        return send(client, method, path, **given)

    monkeypatch.setattr(SyncPrefectClient, "request", busy)
    assert set(site("deploy").values()) == {"unchanged"}
    assert len(asked) >= len(site.deployed)


def test_the_form_of_a_deployment_has_titles_defaults_and_help(site):
    def form(name):
        return site.ask("GET", f"deployments/name/{name}")["parameter_openapi_schema"]

    pipeline = form("touchstone/pipeline")["properties"]
    assert pipeline["profile"]["title"] == "Profile"
    assert pipeline["profile"]["default"] == "quickstart"
    assert pipeline["profile"]["anyOf"][0]["enum"] == profile_names(), "a choice, and the first"
    assert all(field["description"] for field in pipeline.values())
    definitions = form("pretrain/stage-pretrain-gpu")["definitions"]["PretrainConfig"]["properties"]
    assert definitions["steps"]["default"] > 0
    assert definitions["device"]["description"].startswith("auto: the first CUDA device")
    assert form("rows/stage-rows-cpu")["properties"]["config"]["description"] == "what rows is to do"


def test_pipeline_on_pools_trains_on_the_gpu_pool_and_is_linked(site):
    outcome = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=4")
    assert [stage["name"] for stage in outcome["stages"]] == STAGES
    assert outcome["status"] == "completed"
    (parent,) = site.ask(
        "POST", "flow_runs/filter", flow_runs={"name": {"any_": ["only"]}}, limit=1, sort="START_TIME_DESC"
    )
    children = {
        child["name"].removeprefix("only: "): child["work_pool_name"] for child in site.children(parent["id"])
    }
    assert parent["work_pool_name"] == "cpu-pool"
    assert children == {"pretrain": "gpu-pool", **dict.fromkeys(set(STAGES) - {"pretrain"})}

    # the flow run and its MLflow run name each other
    links = site.ask("POST", "artifacts/filter", artifacts={"flow_run_id": {"any_": [parent["id"]]}})
    (link,) = [artifact["data"] for artifact in links if artifact["key"] == "mlflow-run"]
    assert site.mlflow in link
    tracking = until(lambda: site.tracking_of(parent["id"]), 10)
    assert f"/flow-run/{parent['id']})" in tracking.data.tags["mlflow.note.content"]
    assert tracking.info.run_id in link

    again = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=4")
    assert all(stage["cached"] for stage in again["stages"])
    here = site("run", "only.yaml", "--set", "pretrain.steps=4")
    assert [stage["digest"] for stage in here["stages"]] == [stage["digest"] for stage in outcome["stages"]]


def test_trials_of_a_sweep_run_side_by_side_on_the_pools(site):
    """One in the command's process, the others begun by workers; each trains on gpu-pool."""
    rates = ["15e-4", "2e-3", "3e-3"]  # none of them the profile's, with which others train
    over = ("--over", f"pretrain.learning_rate={','.join(rates)}", "--sampler", "grid", "--at-once", "2")
    outcome = site("sweep", "only.yaml", *over, "--pools", "--set", "pretrain.steps=4")
    assert outcome["status"] == "completed"
    assert [trial["state"] for trial in outcome["trials"]] == ["done"] * 3
    assert [trial["settings"]["pretrain.learning_rate"] for trial in outcome["trials"]] == rates
    named = {"name": {"any_": [f"only trial {trial['number']}" for trial in outcome["trials"]]}}
    done = named | {"state": {"type": {"any_": ["COMPLETED"]}}}
    runs = site.ask("POST", "flow_runs/filter", flow_runs=done)
    assert len(runs) == 3
    assert {run["work_pool_name"] for run in runs} == {None, "cpu-pool"}
    for run in runs:
        pools = {
            child["name"].rpartition(": ")[2]: child["work_pool_name"] for child in site.children(run["id"])
        }
        assert pools["pretrain"] == "gpu-pool"


def test_a_failure_on_a_pool_is_told_as_here(site):
    """The child's own words, its label before them, and the status of a failed stage."""
    failed = site.result("run", "only.yaml", "--pools", "--set", "pretrain.context=65536")
    assert failed.status == 1, failed.err
    assert failed.json["status"] == "failed"
    assert failed.json["error"].startswith("pretrain: ")
    assert "tokens" in failed.json["error"]
    assert "FailedRun" not in failed.json["error"]
    assert "--verbose" not in failed.json["error"]


def test_reapings_that_are_asked_for_together_are_one(site):
    """A process for each would keep a machine busy for minutes after every crash."""
    runs = [site.run("touchstone-reap/reap") for _ in range(4)]
    ends = [site.end_of(run) for run in runs]
    done = [end for end in ends if end["type"] == "COMPLETED"]
    spared = [end for end in ends if (end["type"], end["message"]) == ("CANCELLED", SPARED)]
    assert len(done) <= 1  # none, where an earlier trial's reaping was about to begin
    assert len(done) + len(spared) == 4, ends


def test_a_foreign_page_and_who_has_no_secret_do_nothing(site):
    """The very request with which a page once had a worker run its commands."""
    for address in (f"{site.prefect}/api", site.mlflow):
        assert attack(address, REBOUND) == {403}
        assert attack(address, REBOUND, LOGIN) == {403}
        assert attack(address) == {401}
    named = site.ask("POST", "flows/filter", flows={"name": {"any_": ["evil"]}})
    assert named == []
    assert (site.folder / "up.log").read_text().count(LOGIN[1]) == 0
    for name in ("Prefect asks for touchstone:SECRET", "SECRET is in"):
        assert name in (site.folder / "up.log").read_text()


@pytest.mark.parametrize(
    "foreign",
    [
        {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "touch MARK"}}]},
        {"job_variables": {"command": "touch MARK"}},
        {"entrypoint": "evil.py:evil", "path": "FOLDER"},
        {"name": "reap", "run": {"env": {"PREFECT__FLOW_ENTRYPOINT": "FOLDER/evil.py:evil"}}},
    ],
)
def test_foreign_code_is_not_executed_even_with_the_secret(site, tmp_path, foreign):
    mark = tmp_path / "was-here"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    given = json.loads(json.dumps(foreign).replace("MARK", str(mark)).replace("FOLDER", str(tmp_path)))
    flow = site.ask("POST", "flows/", name="evil")
    run = given.pop("run", {})
    ours = {"flow_id": flow["id"], "entrypoint": "flows.server.reaper.reaping", "work_pool_name": "cpu-pool"}
    ours |= {"name": "evil", "job_variables": job_variables({})}
    made = site.ask("POST", "deployments/", **ours | given)
    try:
        asked = {"state": {"type": "SCHEDULED"}, "job_variables": run}
        created = site.ask("POST", f"deployments/{made['id']}/create_flow_run", **asked)
        end = site.end_of(created["id"])
    finally:
        site.ask("DELETE", f"deployments/{made['id']}")
    assert end["type"] == "CRASHED"
    assert "RefusedError" in end["message"]
    assert not mark.exists()


# Failures


@pytest.fixture
def training(site):
    """A factory: a pipeline on the pools whose training has kept a checkpoint; its run and the training's."""

    def start(**pretrain):
        run = site.train(**pretrain)
        return run, under_way(site, run)

    yield start
    until(lambda: not site.running_in_mlflow(), 120)


def under_way(site, run):
    """The newest training of a pipeline, once it is running and has kept a checkpoint of its own."""
    child = site.child(run)
    before = {path.name for path in site.checkpoints(child["id"])}
    until(lambda: {path.name for path in site.checkpoints(child["id"])} - before, 120)
    assert site.state(child["id"]) == "RUNNING", "the training was over before it could be disturbed"
    return child


def trainings(site, run):
    return [child for child in site.children(run) if child["name"].endswith(": pretrain")]


def test_training_outlives_deaths_around_it_with_the_same_bits(site, training):
    """The training, its worker twice, MLflow's and Prefect's server; another pipeline waits for it."""
    run, child = training(steps=ENOUGH, seed=1, crashes=5)
    psutil.Process(site.pid(child)).kill()
    crash = site.end_of(child["id"], 60)
    assert crash["type"] == "CRASHED"
    assert "SIGKILL" in crash["message"] or "the process was killed" in crash["message"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        child = under_way(site, run)
        site.process("worker_app", "gpu-pool").send_signal(number)
        assert site.end_of(child["id"])["type"] == "CRASHED"

    under_way(site, run)
    site.process("mlflow", "server").kill()
    waiting = site.train(steps=ENOUGH, seed=1)
    until(lambda: answers(f"{site.mlflow}/health"), 120)
    until(lambda: trainings(site, waiting) or site.state(waiting) in ENDED, 120)
    site.process("prefect_app").kill()
    until(lambda: answers(f"{site.prefect}/api/health"), 120)

    assert [site.end_of(each, AT_LAST)["type"] for each in (run, waiting)] == ["COMPLETED"] * 2
    states = [each["state_type"] for each in trainings(site, run)]
    assert states == ["CRASHED", "CRASHED", "CRASHED", "COMPLETED"]
    assert site.mlflow_runs(run)["pretrain"][0] == site.mlflow_runs(run)["only"][0] == "FINISHED"
    assert "pretrain" not in site.mlflow_runs(waiting)

    made = [site.tracking_of(each["id"]) for each in trainings(site, run)]
    (digest,) = {each.data.tags["touchstone.digest"] for each in made if each.info.status == "FINISHED"}
    settings = ("--set", f"pretrain.steps={ENOUGH}", "--set", "pretrain.seed=1")
    anew = site("run", "only.yaml", *settings, "--refresh", "pretrain", PREFECT_API_URL=shared.prefect())
    (undisturbed,) = [stage for stage in anew["stages"] if stage["name"] == "pretrain"]
    assert not undisturbed["cached"]
    assert digest == undisturbed["digest"]


def test_a_killed_pipeline_stops_its_training(site, training):
    run, child = training(steps=LONG, seed=5)
    psutil.Process(site.pid(site.flow_run(run))).kill()
    assert site.end_of(run, 60)["type"] == "CRASHED"
    assert site.end_of(child["id"], 60)["type"] in ("CANCELLED", "CRASHED")
    until(lambda: not site.running_in_mlflow(), 60)
    assert site.mlflow_runs(run)["only"][0] == "KILLED"


def test_ctrl_c_of_a_follower_cancels_the_run_in_half_a_minute(site):
    command = site.start("run", "only.yaml", "--pools", "--json", "--set", f"pretrain.steps={LONG}")
    until(lambda: "pretrain" in site.running_in_mlflow(), 180)
    (parent,) = site.ask(
        "POST", "flow_runs/filter", flow_runs={"name": {"any_": ["only"]}}, limit=1, sort="START_TIME_DESC"
    )
    run, child = parent["id"], under_way(site, parent["id"])
    process = psutil.Process(site.pid(child))
    command.send_signal(signal.SIGINT)
    until(lambda: site.state(child["id"]) in {"CANCELLING", "CANCELLED"}, 60)
    process.wait(30)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert json.loads(out)["status"] == "interrupted"
    assert "Traceback" not in err
    assert site.end_of(run, 30)["type"] == "CANCELLED"
    assert site.end_of(child["id"], 30)["type"] == "CANCELLED"
    until(lambda: not site.running_in_mlflow(), 60)
    kept = max(path.stem for path in site.checkpoints(child["id"]) if path.stem.startswith("step-"))
    steps = site.tracking_of(child["id"]).data.metrics["curves/tokens"] / (4 * 32)  # a step
    assert kept == f"step-{steps:09.0f}", "the last step that it made"
    assert {status for status, _ in site.mlflow_runs(run).values()} <= {"KILLED", "FINISHED"}
    assert site.mlflow_runs(run)["pretrain"][0] == "KILLED"


# The last trial: it ends the site.


def test_ctrl_c_takes_everything_down_and_leaves_no_run_running(site):
    """SIGTERM ends the `up` of other trials."""
    run = site.train(steps=LONG, seed=9)
    under_way(site, run)
    assert stop(site.processes[0], signal.SIGINT) == 0, (site.folder / "up.log").read_text()
    in_mlflow, in_prefect = site.left_of(run)
    assert in_mlflow["only"] == in_mlflow["pretrain"] == "KILLED"
    assert in_prefect["only"] == in_prefect["only: pretrain"] == "CANCELLED"
