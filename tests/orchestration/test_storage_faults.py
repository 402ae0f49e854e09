"""MLflow's store in trouble while a pipeline runs: gone, locked, full. Each has an end."""

import os
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR
from sqlalchemy import Engine, event
from urllib3.util.retry import Retry

import flows.dispatch.stage_flows
from flows.server.access import required_secret
from flows.server.servers import Place, answers, free_port, mlflow_server
from tests import shared
from tests.orchestration.sites import Site, furnish, until

RUN = ("run", "only.yaml", "--set", "pretrain.steps=1500")

pytestmark = [pytest.mark.timeout(480)]


@pytest.fixture
def place(tmp_path):
    """A factory of sites whose MLflow is at an address, or embedded when that is empty."""

    def make(mlflow=""):
        environment = furnish(tmp_path) | {"PREFECT_API_URL": shared.prefect()}
        if mlflow:
            environment["MLFLOW_TRACKING_URI"] = mlflow
        store = mlflow or f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
        return Site(tmp_path, environment, shared.prefect().removesuffix("/api"), store)

    return make


@pytest.fixture
def beside():
    """A thread that lives as long as the trial: with it end the servers that it starts."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def served(tmp_path, beside):
    """A factory of MLflow servers of the trial's own; gives a server, its address, and how it is started."""
    servers = []

    def make(artifacts=None):
        place, store = Place(mlflow_port=free_port()), f"sqlite:///{tmp_path / 'served.db'}"
        address = place.mlflow
        server = mlflow_server(
            place, tmp_path / "log", required_secret(), store, artifacts or tmp_path / "artifacts"
        )
        servers.append(server)

        def begin():
            server.start()
            server.wait_until(lambda: answers(f"{address}/health"))

        begin()
        return server, address, begin

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def once_in_training(beside):
    """Does something as soon as the training of a command of this process has kept a checkpoint."""

    @contextmanager
    def doing(site, act):
        def wait_and_act():
            until(lambda: list(site.folder.glob("mlruns/work/*/checkpoint/*.pt")), 120)
            act()

        acted = beside.submit(wait_and_act)
        try:
            yield
        finally:
            acted.result(150)

    return doing


def test_requests_are_made_for_as_long_as_the_readme_says():
    """Sixty seconds, but for what the trials below tell them."""
    retries = int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    retry = Retry(total=retries, backoff_factor=MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.default)
    waited = 0.0
    for _ in range(retries):
        retry = retry.increment("GET", "/", error=ConnectionResetError())
        waited += retry.get_backoff_time()
    assert waited >= 60


@pytest.mark.slow
def test_server_gone_for_a_while_is_waited_for_and_not_for_ever(place, served, once_in_training):
    server, address, begin = served()
    site = place(address)

    def restart():
        server.stop()
        begin()

    with once_in_training(site, restart):
        outcome = site(*RUN)
    assert outcome["status"] == "completed"
    assert site.running_in_mlflow() == []

    other = (*RUN, "--set", "pretrain.seed=2")
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "TOUCHSTONE_SECONDS_MLFLOW_AWAY": "1"}
    with once_in_training(site, server.stop):
        failed = site.result(*other, **brief)
    assert failed.status == 1
    assert "Traceback" not in failed.err
    assert address.removeprefix("http://").partition(":")[0] in failed.err
    begin()
    assert site(*other)["status"] == "completed"  # it is made up for when it is back
    assert site.running_in_mlflow() == []


def test_locked_database_is_waited_for_longer_than_sqlite_waits(place, once_in_training, monkeypatch):
    """MLflow lets SQLite wait 20 s, which are shortened here; then the stage is begun once more."""
    site = place()
    monkeypatch.setattr(flows.dispatch.stage_flows.run_recorded, "retry_delay_seconds", 1)
    attempts, real, over = [], flows.dispatch.stage_flows.execute, threading.Event()

    def execute(tracking, work, **options):
        try:
            return real(tracking, work, **options)
        except Exception as error:
            attempts.append((work.stage.name, str(error)))
            over.set()
            raise

    def shorten(connection, cursor, statement, parameters, context, executemany):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 200"), parameters

    def lock():
        database = sqlite3.connect(site.folder / "mlruns" / "mlflow.db", isolation_level=None, timeout=30)
        database.execute("BEGIN EXCLUSIVE")
        over.wait(60)
        database.execute("ROLLBACK")
        database.close()

    monkeypatch.setattr(flows.dispatch.stage_flows, "execute", execute)
    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    try:
        with once_in_training(site, lock):
            outcome = site(*RUN)
    finally:
        event.remove(Engine, "before_cursor_execute", shorten)
    assert outcome["status"] == "completed"
    ((stage, error),) = attempts
    assert stage == "pretrain"
    assert "has been locked by another process" in error
    assert site.running_in_mlflow() == []


@pytest.mark.parametrize(
    "jump", [-86_400, pytest.param(86_400, marks=pytest.mark.slow)], ids=["back", "forward"]
)
def test_a_clock_that_jumps_by_a_day_changes_nothing(place, once_in_training, monkeypatch, jump):
    """As when a machine asks the time for the first time, or wakes."""
    site, real, offset = place(), time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    with once_in_training(site, lambda: offset.__setitem__(0, jump)):
        outcome = site(*RUN)
    assert offset == [jump]
    assert outcome["status"] == "completed"
    assert all(0 <= stage["seconds"] < 100 for stage in outcome["stages"])
    assert site.running_in_mlflow() == []
    assert all(stage["cached"] for stage in site(*RUN)["stages"])


@pytest.mark.slow
def test_full_disk_on_the_server_fails_the_stage_without_a_hit(place, served, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        server, address, _ = served(small)
        site = place(address)
        big = ("run", "only.yaml", "--set", "pretrain.size=4x4x256", "--set", "pretrain.steps=4")
        failed = site.result(*big, MLFLOW_HTTP_REQUEST_MAX_RETRIES="2")
        assert failed.status == 1, failed.err
        assert "Traceback" not in failed.err
        assert "a full disk on its machine" in failed.json["error"]
        assert site.running_in_mlflow() == []
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        outcome = site(*big)
        assert {stage["name"]: stage["cached"] for stage in outcome["stages"]} == {
            "download corpus": True,
            "tokenize": True,
            "pretrain": False,
            "report": False,
        }
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
