"""`touchstone runs`, `logs` and `cancel`: what is listed and chosen, and whose process is asked to stop."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest

from flows.dispatch.history import parse_since
from flows.server.live_runs import LogReader, cancel_run, holder_of
from tasks.errors import UsageError
from tasks.record.run_lifecycle import LOCK, MACHINE, lock_path, lock_tags

HOUR = 3_600_000


@pytest.fixture(scope="module")
def store(tmp_path_factory, fresh_store):
    return fresh_store(tmp_path_factory.mktemp("runs") / "mlruns")


def begun(store, name, at, status=None, **tags):
    told = {"mlflow.runName": name, "touchstone.kind": "pipeline", "touchstone.profile": name}
    run = store.client.create_run(store.experiment_id, at, told | tags)
    if status:
        store.client.set_terminated(run.info.run_id, status, at + 90_000)
    return run.info.run_id


@pytest.fixture(scope="module")
def made(store):
    """A finished run with a score, one that failed, one that was refused; newest last."""
    now = round(1000 * datetime.now(UTC).timestamp())
    done = begun(store, "quick", now - 50 * HOUR, "FINISHED")
    entry = {
        "model": "fine-tuned",
        "kind": "metric",
        "status": "scored",
        "rows": 3,
        "scored": 3,
        "missing": 0,
    }
    scores = [
        entry | {"model": "base", "scorer": "metric:chrf", "mean": 4.0, "low": 3.0, "high": 5.0},
        entry | {"scorer": "metric:exact", "mean": 10.0, "low": 5.0, "high": 15.0},
        entry | {"scorer": "metric:chrf", "mean": 81.26, "low": 70.0, "high": 90.04},
    ]
    model = {"name": "touchstone-quick", "version": 3, "champion": True, "decision": "the first"}
    stages = [{"name": "rows", "cached": True, "seconds": 0.1, "run_id": "a" * 32, "key": "k"}]
    summary = {"status": "completed", "headline": "metric:chrf", "scores": scores, "model": model}
    summary["stages"] = stages
    store.client.log_dict(done, summary, "summary.json")
    child = store.client.create_run(store.experiment_id, tags={"mlflow.parentRunId": done}).info.run_id
    store.client.log_text(child, "x" * 1000, "output/model.bin")
    failed = begun(store, "quick", now - 10 * HOUR, "FAILED", **{"touchstone.error": "rows: no such file"})
    refused = begun(store, "other", now - HOUR, "FAILED")
    store.client.log_dict(refused, {"status": "refused", "scores": [], "model": None}, "summary.json")
    return {"done": done, "failed": failed, "refused": refused}


@pytest.fixture
def touchstone(store, command, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(store.root.parent))
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments, status=0):
        found, out, err = command(*arguments)
        assert found == status, err
        return json.loads(out) if "--json" in arguments else out

    return run


def ids(told):
    return [run["run_id"] for run in told["runs"]]


def test_runs_are_listed_newest_first_with_what_came_of_them(touchstone, made):
    told = touchstone("runs", "--json")
    assert ids(told) == [made["refused"], made["failed"], made["done"]]
    done = told["runs"][-1]
    assert done["score"] == {
        "model": "fine-tuned",
        "scorer": "metric:chrf",
        "mean": 81.26,
        "low": 70.0,
        "high": 90.04,
    }
    assert done["model"] == {"name": "touchstone-quick", "version": 3, "champion": True}
    assert (done["state"], done["seconds"], done["bytes"] > 1000) == ("finished", 90.0, True)
    shown = touchstone("runs")
    assert "81.3 (70.0 to 90.0)" in shown
    assert "touchstone-quick/3" in shown
    assert all(run[:8] in shown for run in made.values())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--profile", "quick"), ["failed", "done"]),
        (("--state", "failed"), ["failed"]),
        (("--state", "refused"), ["refused"]),
        (("--state", "interrupted"), []),
        (("--since", "1d"), ["refused", "failed"]),
        (("--since", "1d", "--profile", "quick", "--state", "failed"), ["failed"]),
        (("--limit", "1"), ["refused"]),
    ],
)
def test_runs_are_chosen_by_profile_state_and_time(touchstone, made, options, expected):
    assert ids(touchstone("runs", *options, "--json")) == [made[name] for name in expected]


def test_one_run_is_told_with_its_stages_and_why_it_failed(touchstone, made):
    told = touchstone("runs", made["done"][:8], "--json")
    assert told["stages"] == [{"name": "rows", "cached": True, "seconds": 0.1, "run_id": "a" * 32}]
    assert "rows: no such file" in touchstone("runs", made["failed"])


@pytest.mark.parametrize("width", ["60", "120"])
def test_the_list_fits_the_terminal(touchstone, made, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert max(map(len, touchstone("runs").splitlines())) <= int(width)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("runs", "--state", "done"), "expected running, finished, failed, interrupted, refused"),
        (("runs", "--since", "yesterday"), "expected a time ago, as 30m, 12h, 7d or 2w, or a date"),
        (("runs", "--since", "999999w"), "--since '999999w': expected a time ago"),
        (("runs", "--since", "0001-01-01"), "--since '0001-01-01': expected a time ago"),
        (("runs", "--profile", 'a"b'), "no profile has such a name"),
        (("runs", "quick", "--state", "failed"), "leave them out beside one run"),
        (("runs", "nothing"), "is no run"),
        (("cancel", "quick"), "(quick) is not running: FAILED"),
    ],
)
def test_a_mistake_is_one_message(touchstone, made, arguments, hint):
    assert hint in touchstone(*arguments, "--json", status=2)["error"]


def test_since_is_a_while_ago_or_a_date():
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert parse_since("36h", now) == datetime(2026, 3, 1, 0, tzinfo=UTC)
    assert parse_since("1w", now) == datetime(2026, 2, 23, 12, tzinfo=UTC)
    assert parse_since("2026-03-01T10:00+00:00", now) == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert parse_since("2026-03-01", now).tzinfo is not None


HOLDS = """
import signal, sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
def end(*_):
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("held", flush=True)
time.sleep(60)
"""


def test_the_process_that_holds_a_runs_lock_is_asked_to_stop(store, monkeypatch):
    name = f"run-{uuid4().hex}"
    run_id = begun(store, "live", 1, **lock_tags(store, name))
    lock = lock_path(store, name)
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert holder_of(lock) == process.pid
        ended, kill = [], os.kill

        def stop(pid, number):
            ended.append((pid, number))
            kill(pid, number)
            store.client.set_terminated(run_id, "KILLED")

        monkeypatch.setattr("flows.server.live_runs.os.kill", stop)
        assert cancel_run(store, store.client.get_run(run_id)) == "KILLED"
        assert ended == [(process.pid, signal.SIGTERM)]
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()


def test_a_run_of_another_machine_is_stopped_there(store):
    run_id = begun(store, "far", 1, **{LOCK: "run-x", MACHINE: "another"})
    with pytest.raises(UsageError, match="runs on another machine; stop it there"):
        cancel_run(store, store.client.get_run(run_id))
    store.client.set_terminated(run_id, "KILLED")


def test_log_lines_are_told_once_and_other_loggers_left_out():
    lines = [
        SimpleNamespace(id=uuid4(), name=name, message=message, timestamp=datetime.now(UTC))
        for name, message in (("flows.dispatch", "one"), ("prefect", "noise"), ("flows.dispatch", "two"))
    ]
    reader = LogReader(lambda *_, limit, offset, **__: lines[offset : offset + limit])
    assert [line[10:] for line in reader.new([uuid4()])] == ["one", "two"]
    lines.append(SimpleNamespace(id=uuid4(), name="flows.x", message="three", timestamp=datetime.now(UTC)))
    assert [line[10:] for line in reader.new([uuid4()])] == ["three"]
    assert list(reader.new([])) == []
