"""Mistakes in the use of the commands about servers: one message and status 2, before anything starts."""

import json
import socket

import pytest
from filelock import FileLock

from flows.server.servers import free_port
from tests.http_server import FaultyServer, Reply
from tests.orchestration.sites import furnish


@pytest.fixture
def healthy():
    """The address of a server that says that it is well, and nothing else."""
    with FaultyServer().running() as server:
        server.on("/api/health", Reply())
        yield server.url


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def said(told, hint):
    status, out, err = told
    assert (status, hint in err) == (2, True), (out, err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("worker", "gpu-pool"), "start one with touchstone up, or set PREFECT_API_URL"),
        (("deploy",), "start one with touchstone up, or set PREFECT_API_URL"),
        (("up", "--prefect-port", "70000"), "less than or equal to 65535"),
        (("up", "--host", "192.0.2.1"), "192.0.2.1:4200 cannot be listened at"),
    ],
)
def test_a_mistake_is_one_message(touchstone, arguments, hint):
    said(touchstone(*arguments), hint)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("worker", "nonsense-pool"), "there is no work pool nonsense-pool; there are cpu-pool, gpu-pool"),
        (("deploy", "--activate", "nightlie"), "there is no schedule nightlie; there are nightly"),
        (("run", "only.yaml", "--pools", "--set", "pools.max_restart=3"), "did you mean pools.max_restarts?"),
    ],
)
def test_a_mistake_is_found_though_there_are_servers(
    touchstone, healthy, monkeypatch, tmp_path, arguments, hint
):
    furnish(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", f"{healthy}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", healthy)
    said(touchstone(*arguments), hint)


def test_silent_server_is_told_without_its_password(touchstone, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://user:hidden@127.0.0.1:9/api")
    said(touchstone("deploy"), "no Prefect server answers at http://user:***@127.0.0.1:9/api")


def test_a_worker_needs_a_server_of_mlflow_too(touchstone, monkeypatch, healthy):
    monkeypatch.setenv("PREFECT_API_URL", f"{healthy}/api")
    said(touchstone("worker", "gpu-pool"), "needs MLFLOW_TRACKING_URI too")


def test_a_second_up_here_is_refused(touchstone, tmp_path):
    (tmp_path / "mlruns" / "work").mkdir(parents=True)
    with FileLock(tmp_path / "mlruns" / "work" / "up.lock"):
        said(touchstone("up"), f"is running for {tmp_path / 'mlruns'} already")


def test_a_port_that_is_taken_is_named_and_another_proposed(touchstone, listening):
    told = touchstone("up", "--prefect-port", str(free_port()), "--mlflow-port", str(listening))
    said(told, f"port {listening} of 127.0.0.1 is taken; take another: touchstone up --mlflow-port")


def test_pools_without_servers_say_what_to_start(touchstone, tmp_path):
    furnish(tmp_path)
    status, out, _ = touchstone("run", "only.yaml", "--pools", "--json")
    assert status == 2
    assert "touchstone up" in json.loads(out)["error"]
