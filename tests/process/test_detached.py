"""A command that is started from another process goes on without it, and its output is in a log."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.process import detached
from flows.process.detached import LOG, LOG_TAG, log_tags, start_detached

WAIT = 10  # seconds


@pytest.fixture
def sleeper(tmp_path, monkeypatch):
    """A command that tells where it is, and sleeps."""
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\necho started in $PWD with ${LOG} and $1\nsleep 60\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr(detached, "COMMAND", str(path))
    return path


def until(true):
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_detached_command_is_nobodys_child(sleeper, tmp_path):
    log = tmp_path / "logs" / "run.log"
    started = psutil.Process(start_detached(["it's"], os.environ, tmp_path, log))
    try:
        assert started.ppid() != os.getpid()
        assert started.pid not in [child.pid for child in psutil.Process().children(recursive=True)]
        assert os.getsid(started.pid) == started.pid
        until(lambda: log.read_text().endswith("\n"))
        assert log.read_text() == f"started in {tmp_path} with {log} and it's\n"
    finally:
        os.killpg(started.pid, signal.SIGKILL)


def test_detached_command_outlives_who_started_it(sleeper, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from flows.process import detached\n"
        "detached.COMMAND, folder = sys.argv[1], Path(sys.argv[2])\n"
        "print(detached.start_detached([], os.environ, folder, folder / 'log'))"
    )
    command = [sys.executable, "-c", code, str(sleeper), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    try:
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    finally:
        os.killpg(pid, signal.SIGKILL)


def test_detached_command_knows_its_log(monkeypatch):
    monkeypatch.setenv(LOG, "/logs/run.log")
    assert log_tags() == {LOG_TAG: "run.log"}
    monkeypatch.delenv(LOG)
    assert log_tags() == {}
