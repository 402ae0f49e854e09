"""MLflow's store in trouble while a pipeline runs: gone, locked, full. Each has an end."""

import json
import sqlite3
import subprocess
import time

import pytest

from flows.servers import answers, free_port, mlflow_server, prefect_server
from tests.orchestration.sites import Site, furnish, until

STEPS = ("--set", "pretrain.steps=5000")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory):
    """The address of a Prefect server."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    home = {"PREFECT_HOME": str(folder)}
    server = prefect_server("127.0.0.1", port, folder / "log", home, brief=True)
    server.start()
    try:
        server.wait_until(lambda: answers(f"http://127.0.0.1:{port}/api/health"))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture
def place(tmp_path, prefect):
    """A factory of sites whose MLflow is at an address, or embedded when that is empty."""

    def make(mlflow=""):
        environment = furnish(tmp_path) | {"PREFECT_API_URL": f"{prefect}/api"}
        if mlflow:
            environment["MLFLOW_TRACKING_URI"] = mlflow
        return Site(
            tmp_path, environment, prefect, mlflow or f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
        )

    return make


def server_for(folder, artifacts=None):
    """An MLflow server that is not started yet, and its address."""
    port = free_port()
    store = f"sqlite:///{folder / 'served.db'}"
    server = mlflow_server("127.0.0.1", port, folder / "log", store, artifacts or folder / "artifacts")
    return server, f"http://127.0.0.1:{port}"


def ready(server, address):
    server.start()
    server.wait_until(lambda: answers(f"{address}/health"))


def in_training(site):
    """Wait until the training has kept a checkpoint."""
    until(lambda: list(site.folder.glob("mlruns/work/*/checkpoint/*.pt")), 90)


def test_a_server_that_is_gone_for_thirty_seconds_is_waited_for(place, tmp_path):
    server, address = server_for(tmp_path)
    ready(server, address)
    try:
        site = place(address)
        command = site.start("run", "only.yaml", "--json", *STEPS)
        in_training(site)
        server.stop()
        time.sleep(30)
        ready(server, address)
        _, err = command.communicate(timeout=240)
        assert command.returncode == 0, err
        assert site.running_in_mlflow() == []
    finally:
        server.stop()


def test_a_server_that_stays_away_ends_the_run_and_is_made_up_for_when_it_is_back(place, tmp_path):
    server, address = server_for(tmp_path)
    ready(server, address)
    try:
        site = place(address)
        command = site.start("run", "only.yaml", "--json", *STEPS)
        in_training(site)
        server.stop()
        started = time.monotonic()
        _, err = command.communicate(timeout=150)
        assert time.monotonic() - started < 120
        assert command.returncode == 1
        assert "Traceback" not in err
        assert address.removeprefix("http://").partition(":")[0] in err
        ready(server, address)
        outcome = site("run", "only.yaml", *STEPS)
        assert outcome["status"] == "completed"
        assert site.running_in_mlflow() == []
    finally:
        server.stop()


def test_a_database_that_is_locked_for_thirty_seconds_is_waited_for(place):
    site = place()
    command = site.start("run", "only.yaml", "--json", *STEPS)
    in_training(site)
    with sqlite3.connect(site.folder / "mlruns" / "mlflow.db", isolation_level=None, timeout=30) as database:
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(30)
        database.execute("ROLLBACK")
    _, err = command.communicate(timeout=240)
    assert command.returncode == 0, err
    assert site.running_in_mlflow() == []


def test_a_disk_that_is_full_on_the_server_fails_the_stage_and_leaves_no_hit(place, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    server, address = server_for(tmp_path, small)
    try:
        ready(server, address)
        site = place(address)
        big = ("--set", "pretrain.size=4x4x256", "--set", "pretrain.steps=4")
        command = site.start("run", "only.yaml", "--json", *big)
        out, err = command.communicate(timeout=120)
        assert command.returncode == 1, err
        assert "Traceback" not in err
        assert "a full disk on its machine" in json.loads(out)["error"]
        assert site.running_in_mlflow() == []
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        outcome = site("run", "only.yaml", *big)
        assert {stage["name"]: stage["cached"] for stage in outcome["stages"]} == {
            "download corpus": True,
            "tokenize": True,
            "pretrain": False,
            "report": False,
        }
    finally:
        server.stop()
        subprocess.run(["umount", str(small)], check=True)
