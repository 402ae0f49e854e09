"""Two workers on machines of their own, which share nothing but the servers."""

import json
import time
import uuid
from datetime import UTC, datetime

import httpx
import psutil
import pytest

from flows.server.access import required_secret
from flows.server.servers import Place, Process, answers, free_port, mlflow_server, prefect_server
from tests.commands import COMMAND, LOGIN
from tests.orchestration.sites import Site, ask, furnish, until

SILENCE = 45  # seconds: one heartbeat, and as long again as a slow machine may need to tell of it
SHORT = {"TOUCHSTONE_SECONDS_SILENCE": str(SILENCE)}
PLANTED = {"HF_TOKEN": "hf_PLANTED-token-0123", "OPENAI_API_KEY": "sk-PLANTED-key-0123"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Servers of a third machine, and a machine for each pool; gives the site as the cpu-pool's sees it."""
    folder = tmp_path_factory.mktemp("apart")
    homes = {pool: folder / pool for pool in ("cpu-pool", "gpu-pool")}
    place = Place(prefect_port=free_port(), mlflow_port=free_port())
    store = f"sqlite:///{folder / 'mlflow.db'}"
    processes = [
        prefect_server(
            place,
            folder / "prefect.log",
            required_secret(),
            {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S"},
        ),
        mlflow_server(place, folder / "mlflow.log", required_secret(), store, folder / "artifacts"),
    ]
    servers = {"PREFECT_API_URL": f"{place.prefect}/api", "MLFLOW_TRACKING_URI": place.mlflow}
    try:
        for process in processes:
            process.start()
        processes[0].wait_until(lambda: answers(f"{servers['PREFECT_API_URL']}/health"))
        processes[1].wait_until(lambda: answers(f"{servers['MLFLOW_TRACKING_URI']}/health"))
        environments = {}
        for pool, home in homes.items():
            home.mkdir()
            environments[pool] = furnish(home) | servers | PLANTED | SHORT
        (homes["gpu-pool"] / "corpus.txt").unlink()  # what it needs comes from MLflow
        site = Site(
            homes["cpu-pool"],
            environments["cpu-pool"],
            servers["PREFECT_API_URL"].removesuffix("/api"),
            servers["MLFLOW_TRACKING_URI"],
        )
        site("deploy")
        workers = {}
        for pool in homes:
            command = [COMMAND, "worker", pool]
            workers[pool] = Process(pool, command, environments[pool], folder / f"{pool}.log")
            workers[pool].start()
            processes.append(workers[pool])
        for pool, process in workers.items():
            process.wait_until(lambda pool=pool: live(site, pool))
        yield site, homes, workers, folder
    finally:
        for process in reversed(processes):
            process.stop()


def live(site, pool):
    try:
        return site.ask("POST", f"work_pools/{pool}/workers/filter")
    except httpx.HTTPStatusError:
        return []


@pytest.fixture(scope="module")
def abandoned(apart):
    """Flow runs that nobody works on, as machines leave them that die in that state; by the state."""
    site, *_ = apart
    tomorrow = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    deployment = site.ask("GET", "deployments/name/touchstone/pipeline")["id"]
    running = {"type": "RUNNING"}
    ways = {
        "running": [running],
        "starting": [{"type": "PENDING"}],
        "cancelling": [running, {"type": "CANCELLING"}],
        "refused": [running, {"type": "FAILED", "name": "Refused"}],
        "done": [running, {"type": "COMPLETED"}],
    }
    runs = {}
    for way, states in ways.items():
        run = site.ask("POST", f"deployments/{deployment}/create_flow_run", name=way, state=tomorrow)["id"]
        for state in states:
            site.ask("POST", f"flow_runs/{run}/set_state", state=state, force=True)
        runs[way] = run
    heartbeat(site, runs["done"])  # sent before it was done, and received after
    return runs


def heartbeat(site, run):
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": "prefect.tag.touchstone", "prefect.resource.role": "tag"}],
    }
    ask(site.prefect, "POST", "events", [event])


def test_they_hand_over_by_references_alone_and_tell_no_secret(apart, abandoned):
    """What was abandoned becomes old meanwhile."""
    site, homes, _, folder = apart
    outcome = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=300")
    assert not [stage["name"] for stage in outcome["stages"] if stage["cached"]]
    assert (homes["gpu-pool"] / "mlruns" / "work" / "downloads").is_dir()
    assert not (homes["gpu-pool"] / "mlruns" / "mlflow.db").exists()
    again = site("run", "only.yaml", "--pools", "--refresh", "report", "--set", "pretrain.steps=300")
    assert [stage["name"] for stage in again["stages"] if not stage["cached"]] == ["report"]
    secrets = (b"PLANTED", LOGIN[1].encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []
    assert "mlflow.db" in {path.name for path in files}
    commands = {" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    assert [line for line in commands if any(secret.decode() in line for secret in secrets)] == []
    assert any("worker_app" in line for line in commands)
    told = json.dumps(
        [site.ask("POST", f"{kind}/filter") for kind in ("flow_runs", "logs", "artifacts", "task_runs")]
    )
    assert [secret for secret in secrets if secret.decode() in told] == []


def test_a_machine_that_is_gone_is_noticed(apart, abandoned):
    """Its worker and the training die at once, as when the power goes: nobody is left who could tell.

    They die before the training's first heartbeat has reached the server.
    """
    site, _, workers, _ = apart
    run = site.train(steps=400_000, crashes=0)
    child = site.child(run)
    training = psutil.Process(site.pid(child))
    machine = [psutil.Process(workers["gpu-pool"].popen.pid)]
    machine += machine[0].children(recursive=True)
    for process in (*machine, training):
        process.kill()
    ended = site.end_of(run, 120)
    assert ended["type"] == "CRASHED"
    assert f"no sign of life for {SILENCE} s" in ended["message"]
    until(lambda: not site.running_in_mlflow(), 60)
    assert site.mlflow_runs(run)["only"][0] == "FAILED"


@pytest.mark.parametrize(
    ("state", "end", "reason"),
    [
        ("running", "CRASHED", f"no sign of life for {SILENCE} s: its worker or its machine is gone"),
        ("starting", "CRASHED", f"its worker took it and did not start it within {SILENCE} s"),
        ("cancelling", "CANCELLED", f"whoever ran it did not say within {SILENCE} s that it has stopped"),
    ],
)
def test_abandoned_flow_run_is_ended_in_whatever_state_it_is(apart, abandoned, state, end, reason):
    site, *_ = apart
    ended = site.end_of(abandoned[state], 120)
    assert (ended["type"], ended["message"]) == (end, reason)


def test_a_flow_run_that_has_an_end_keeps_it(apart, abandoned):
    """Also one that was refused, and one whose last heartbeat comes late."""
    site, *_ = apart
    for state in ("running", "starting", "cancelling"):  # they were left before, so its time is over too
        site.end_of(abandoned[state], 120)
    time.sleep(2.5)  # two looks of the server, which looks every second
    assert site.flow_run(abandoned["refused"])["state"]["name"] == "Refused"
    assert site.state(abandoned["done"]) == "COMPLETED"
