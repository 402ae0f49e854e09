"""A folder in which `touchstone up` runs, and what anyone may ask its servers."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.server.access import credentials
from flows.server.servers import free_port
from tasks.record.tracking import open_tracking
from tests.commands import (
    CHECKOUT,
    COMMAND,
    LOGIN,
    Result,
    heed_interruptions,
    kill_with_children,
    run_here,
    start,
)

for _name, _value in credentials(LOGIN[1]).items():
    os.environ.setdefault(_name, _value)  # a benchmark has no conftest that does

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

# Nothing sleeps for what it could be told soon; limits stay as generous as a slow machine needs.
HURRY = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",  # two minutes
    "TOUCHSTONE_SECONDS_LOOK": "0.2",
    "TOUCHSTONE_SECONDS_MLFLOW_AWAY": "120",
    "TOUCHSTONE_SECONDS_POLL": "0.4",
    "TOUCHSTONE_SECONDS_RETRY": "1",
    "TOUCHSTONE_SECONDS_REAP": "3",
}

# A training of some seconds, evaluated and so kept from time to time.
ONLY = """
description: a few characters
corpus: corpus.txt
tokenize: {kind: char}
pretrain: {size: 1x2x16, context: 32, steps: 4000, batch_size: 4, warmup: 1, eval_every: 250}
"""


def furnish(folder: Path) -> dict[str, str]:
    """A home with a corpus and a profile; gives the environment that makes it one."""
    text = " ".join(f"The {word} of line {line} is long." for line in range(90) for word in ("end", "start"))
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    (folder / "only.yaml").write_text(ONLY, encoding="utf-8")
    if not (folder / "deployments").exists():
        (folder / "deployments").symlink_to(CHECKOUT / "deployments")
    foreign = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")  # of the tests' own process
    return {name: value for name, value in os.environ.items() if name not in foreign} | {
        **HURRY,
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
        "TOUCHSTONE_HOME": str(folder),
        "TOUCHSTONE_SECRET": LOGIN[1],
    }


def ask(prefect: str, method: str, path: str, body: Any = None) -> Any:
    """What Prefect's server answers; a busy one whose SQLite is locked says 503 and is asked again."""
    for _ in range(10):
        answer = httpx.request(method, f"{prefect}/api/{path}", json=body, timeout=30, auth=LOGIN)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(1)
    answer.raise_for_status()
    return answer.json() if answer.content else None


@dataclass
class Site:
    """Servers at known addresses, asked as anyone may ask them."""

    folder: Path
    environment: dict[str, str]
    prefect: str
    mlflow: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    deployed: dict[str, str] = field(default_factory=dict)

    # The command

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return start(self.folder, self.environment | environment, *arguments)

    def __call__(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """What a command prints with --json, in this process. It must end well."""
        result = self.result(*arguments, **environment)
        assert result.status == 0, result.err
        return result.json

    def result(self, *arguments: str, **environment: str) -> Result:
        """How a command ends in this process, with Prefect's server as a process of its own would find it."""
        told = self.environment | environment
        prefect = told.get("PREFECT_API_URL", f"{self.prefect}/api")
        return run_here(self.folder, told, prefect, *arguments, "--json")

    # Prefect

    def ask(self, method: str, path: str, /, **body: Any) -> Any:
        return ask(self.prefect, method, path, body or None)

    def run(self, deployment: str, **parameters: Any) -> str:
        found = self.ask("GET", f"deployments/name/{deployment}")
        created = self.ask(
            "POST",
            f"deployments/{found['id']}/create_flow_run",
            parameters=parameters,
            state={"type": "SCHEDULED"},
        )
        return created["id"]

    def train(self, crashes: int = 2, **pretrain: Any) -> str:
        """Start the small profile on the pools; settings make its key a test's own."""
        overrides = [f"pretrain.{name}={value}" for name, value in pretrain.items()]
        profile = str(self.folder / "only.yaml")
        return self.run(
            "touchstone/pipeline", profile=profile, overrides=overrides, pools={"max_restarts": crashes}
        )

    def flow_run(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"flow_runs/{name}")

    def state(self, run: str) -> str:
        return self.flow_run(run)["state_type"]

    def children(self, run: str) -> list[dict[str, Any]]:
        only = {"parent_flow_run_id": {"any_": [run]}}
        return self.ask("POST", "flow_runs/filter", flow_runs=only, sort="EXPECTED_START_TIME_ASC")

    def child(self, run: str, name: str = "pretrain") -> dict[str, Any]:
        """The newest child of that name, once it is there and running."""

        def running() -> dict[str, Any] | None:
            assert self.state(run) not in ENDED, self.flow_run(run)["state"]
            found = [child for child in self.children(run) if child["name"].rpartition(": ")[2] == name]
            return found[-1] if found and found[-1]["state_type"] == "RUNNING" else None

        return until(running, 120)

    def cancel(self, run: str) -> None:
        self.ask("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})

    def end_of(self, run: str, within: float = 120) -> dict[str, Any]:
        """The final state of a flow run."""
        until(lambda: self.state(run) in ENDED, within)
        return self.flow_run(run)["state"]

    def pid(self, run: dict[str, Any]) -> int:
        return int(str(self.flow_run(run["id"])["infrastructure_pid"]).rpartition(":")[2])

    # MLflow

    def mlflow_runs(self, run: str) -> dict[str, tuple[str, str | None]]:
        """How the MLflow runs of a pipeline ended, with the reason, by name; the newest of each."""
        tracking = open_tracking(self.folder / "mlruns", self.mlflow)
        found = tracking.client.search_runs(
            [tracking.experiment_id],
            f"tags.`touchstone.prefect_pipeline_run_id` = '{run}'",
            order_by=["attributes.start_time ASC"],
        )
        return {
            each.info.run_name: (each.info.status, each.data.tags.get("touchstone.error")) for each in found
        }

    def tracking_of(self, run: str) -> Any:
        """The MLflow run of a pipeline's own flow run."""
        tracking = open_tracking(self.folder / "mlruns", self.mlflow)
        found = tracking.client.search_runs(
            [tracking.experiment_id], f"tags.`touchstone.prefect_flow_run_id` = '{run}'"
        )
        return found[0] if found else None

    def checkpoints(self, training: str) -> list[Path]:
        """What a training has kept to go on from, by its flow run."""
        made = self.tracking_of(training)
        return (
            list((self.folder / "mlruns" / "work" / made.data.tags["touchstone.key"]).glob("checkpoint/*.pt"))
            if made
            else []
        )

    def left_of(self, run: str) -> tuple[dict[str, str], dict[str, str]]:
        """How MLflow's and Prefect's runs of a pipeline ended, by name, once the servers are gone."""
        root = self.folder / "mlruns"
        tracking = open_tracking(root, f"sqlite:///{root / 'mlflow.db'}")
        found = tracking.client.search_runs(
            [tracking.experiment_id], f"tags.`touchstone.prefect_pipeline_run_id` = '{run}'"
        )
        with closing(sqlite3.connect(self.folder / "prefect" / "prefect.db")) as database:
            flows = database.execute(
                "SELECT name, state_type FROM flow_run WHERE id = ? OR parent_task_run_id IN "
                "(SELECT id FROM task_run WHERE flow_run_id = ?)",
                (run, run),
            )
            return {each.info.run_name: each.info.status for each in found}, dict(flows.fetchall())

    def running_in_mlflow(self) -> list[str]:
        tracking = open_tracking(self.folder / "mlruns", self.mlflow)
        found = tracking.client.search_runs([tracking.experiment_id], "attributes.status = 'RUNNING'")
        return [run.info.run_name for run in found]

    # The processes

    def process(self, *words: str) -> psutil.Process:
        """The one below our own processes whose command line holds the words."""
        for top in self.processes:
            for process in psutil.Process(top.pid).children(recursive=True):
                command = " ".join(process.cmdline()) if process.is_running() else ""
                if all(word in command for word in words):
                    return process
        raise AssertionError(f"no process with {words}")


def until(ask: Callable[[], Any], within: float) -> Any:
    """What `ask` answers once that is something."""
    deadline = time.monotonic() + within
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.1)  # servers give no event
    return answer


def started_up(folder: Path, *arguments: str, **environment: str) -> Site:
    """`touchstone up` in a furnished folder, once it says that it is up."""
    ports = free_port(), free_port()
    site = Site(
        folder, furnish(folder) | environment, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    )
    log = (folder / "up.log").open("wb")
    command = [COMMAND, "up", "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), *arguments]
    site.processes.append(
        subprocess.Popen(
            command,
            cwd=folder,
            env=site.environment,
            stdout=log,
            stderr=log,
            preexec_fn=heed_interruptions,
        )
    )
    try:
        wait_for(site.processes[0], folder / "up.log", "up after")
    except BaseException:  # the time limit of a test too
        kill_with_children(site.processes[0])
        raise
    return site


def wait_for(process: subprocess.Popen[bytes], log: Path, words: str, within: float = 120) -> None:
    def said() -> bool:
        assert process.poll() is None, log.read_text()
        return words in log.read_text()

    until(said, within)


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    """End a process as a person does, and say with what status; nothing that it started is left."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    try:
        status = process.wait(60)
    except BaseException:
        kill_with_children(process)
        raise
    left = [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for child in left:
        child.kill()
    assert not left, left
    return status
