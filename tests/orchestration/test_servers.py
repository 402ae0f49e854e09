"""Processes that are started are taken down again, with all that they started, however we end."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows.server.access import required_secret
from flows.server.servers import (
    Place,
    Process,
    answers,
    free_port,
    is_free,
    prefect_server,
    worker_command,
    worker_environment,
)
from tasks.errors import StageError
from tests.orchestration.sites import ask, until

SLEEPER = "import time; time.sleep(60)"
PARENT_OF_SLEEPER = (
    "import subprocess, sys, time; "
    f"print(subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True).pid, flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def python(tmp_path):
    """A factory of processes that run a line of Python; what is left of them is ended."""
    made = []

    def make(code, name="a server"):
        made.append(Process(name, [sys.executable, "-c", code], os.environ, tmp_path / "logs" / "log"))
        made[-1].start()
        return made[-1]

    yield make
    for process in made:
        process.stop()


def number_in(log):
    """The first line that a process prints, a number."""
    deadline = time.monotonic() + 20
    while not (text := log.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(text)


def gone(pid, within=10):
    deadline = time.monotonic() + within
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_stopping_ends_it_and_what_it_started_in_own_sessions(python):
    process = python(PARENT_OF_SLEEPER)
    grandchild = number_in(process.log)
    process.stop()
    assert not process.running
    assert gone(grandchild)


def test_one_that_will_not_end_is_ended(python, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_SECONDS_GRACE", "0.5")
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    process = python(deaf + "time.sleep(60)")
    number_in(process.log)
    process.stop()
    assert not process.running


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from flows.server.servers import Process\n"
        f"process = Process('child', [sys.executable, '-c', {SLEEPER!r}], os.environ, Path('log'))\n"
        "process.start(); print(process.popen.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as parent:
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.send_signal(signal.SIGKILL)
    assert gone(child)


def test_it_hears_ctrl_c_though_a_shell_started_us_deaf_to_it(python):
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `command &` in a script
    try:
        code = (
            "import signal; "
            "print(int(signal.getsignal(signal.SIGINT) is signal.default_int_handler), flush=True)"
        )
        assert number_in(python(code).log) == 1
    finally:
        signal.signal(signal.SIGINT, old)


def test_death_before_it_is_ready_is_told_with_its_last_log(python):
    process = python("import sys; print('the port is taken', file=sys.stderr); sys.exit(3)", "MLflow server")
    with pytest.raises(StageError, match=r"MLflow server ended with status 3:\nthe port is taken"):
        process.wait_until(lambda: False)


def test_one_that_is_never_ready_is_not_waited_for_for_ever(python):
    with pytest.raises(StageError, match="a server was not ready after 0 s"):
        python(SLEEPER).wait_until(lambda: False, within=0.2)


def test_a_port_that_is_listened_at_is_taken():
    import socket

    port = free_port()
    assert is_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_worker_is_told_what_flows_need_and_user_settings_stay(monkeypatch):
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    environment = worker_environment()
    assert environment["PREFECT_WORKER_QUERY_SECONDS"] == "7"
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    pool, name, limit = worker_command("gpu-pool", 1)[-3:]
    assert (pool, limit) == ("gpu-pool", "1")
    assert name.endswith(f"-gpu-pool-{os.getpid()}")


@pytest.mark.slow
def test_a_home_that_never_sees_up_forgets_old_flow_runs_too(tmp_path):
    """Prefect's own service does it where a server stays; the server of a single command does it once."""
    database = tmp_path / "prefect" / "prefect.db"
    place, home = Place(prefect_port=free_port()), {"PREFECT_HOME": str(tmp_path / "prefect")}

    def served():
        server = prefect_server(place, tmp_path / "log", required_secret(), home, brief=True)
        server.start()
        server.wait_until(lambda: answers(f"{place.prefect}/api/health"))
        return server

    server = served()
    try:
        flow = ask(place.prefect, "POST", "flows/", {"name": "past"})["id"]
        past = {"flow_id": flow, "state": {"type": "COMPLETED"}}
        runs = [ask(place.prefect, "POST", "flow_runs/", past)["id"] for _ in range(3)]
    finally:
        server.popen.kill()  # what it has answered is kept, though it had made its database a second ago
        server.stop()
    assert [path.name for path in database.parent.glob("*.part*")] == []
    with closing(sqlite3.connect(database)) as connection, connection:
        long_ago = "UPDATE flow_run SET end_time = '2020-01-01 00:00:00.000000' WHERE id != ?"
        connection.execute(long_ago, (runs[0],))
    server = served()
    try:
        until(
            lambda: [run["id"] for run in ask(place.prefect, "POST", "flow_runs/filter", {})] == [runs[0]], 60
        )
    finally:
        server.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()
