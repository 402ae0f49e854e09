"""MLflow runs end as what they stand for ended; what was killed is told from what still works."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from filelock import FileLock

from tasks.errors import CrashedError, StageError, StoppedError
from tasks.record import run_lifecycle
from tasks.record.run_lifecycle import (
    ERROR,
    KILLED,
    end_badly,
    end_open_runs,
    ending,
    lock_path,
    lock_tags,
    machine_of,
    reap_orphaned_runs,
)
from tasks.record.tracking import Tracking, open_tracking

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def run(tracking):
    """A factory of runs that say RUNNING; gives their ids."""

    def make(**tags):
        return tracking.client.create_run(tracking.experiment_id, tags=tags).info.run_id

    return make


def how(tracking, run_id):
    found = tracking.client.get_run(run_id)
    return found.info.status, found.data.tags.get(ERROR)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (StageError("the file is gone"), "FAILED", "the file is gone"),
        (CrashedError("the process is gone"), "FAILED", "the process is gone"),
        (StoppedError("cancelled by a person"), "KILLED", "cancelled by a person"),
        (KeyboardInterrupt(), "KILLED", "interrupted, or cancelled"),
        (ZeroDivisionError(), "FAILED", "ZeroDivisionError"),
    ],
)
def test_a_run_ends_as_its_body_does_with_the_reason(tracking, run, error, status, reason):
    run_id, last = run(), []
    with pytest.raises(type(error)), ending(tracking, run_id, lambda: last.append(1)):
        raise error
    assert how(tracking, run_id) == (status, reason)
    assert last == [1]


def test_a_body_without_error_finishes(tracking, run):
    run_id = run()
    with ending(tracking, run_id, lambda: None):
        pass
    assert how(tracking, run_id) == ("FINISHED", None)


def test_runs_are_ended_at_once_while_they_are_worked_on(tracking, run):
    """By another thread than the one that works on them and is stuck, say."""
    stage, pipeline = run(), run()
    with ending(tracking, pipeline, lambda: None), ending(tracking, stage, lambda: None):
        with ThreadPoolExecutor(1) as other:
            ended = other.submit(end_open_runs).result()
        assert [each.info.run_id for each in ended] == [stage, pipeline]
        assert how(tracking, stage) == how(tracking, pipeline) == ("KILLED", "interrupted, or cancelled")
    assert end_open_runs() == []


def test_only_a_defect_is_told_to_who_keeps_tracebacks(tracking, run):
    for error, defects in ((StageError("known"), []), (KeyError("unknown"), [1])):
        kept = []
        with (
            pytest.raises(type(error)),
            ending(tracking, run(), lambda: None, lambda kept=kept: kept.append(1)),
        ):
            raise error
        assert kept == defects


def test_failure_at_the_end_does_not_replace_the_error(tracking, run):
    def fail():
        raise OSError("the metrics could not be sent")

    with pytest.raises(StageError, match="the real one"), ending(tracking, run(), fail):
        raise StageError("the real one")


def test_a_server_that_is_gone_is_not_waited_for(tracking):
    gone = Tracking(tracking.client, "http://127.0.0.1:9", tracking.experiment_id, tracking.root)
    started = time.monotonic()
    end_badly(gone, "0" * 32, StageError("whatever"))
    assert time.monotonic() - started < 5


def hold(root, uri, name, running):
    """In a process of its own: open a run as a stage does, and stay."""
    tracking = open_tracking(root, uri)
    with FileLock(lock_path(tracking, name)):
        tags = lock_tags(tracking, name)
        running.put(tracking.client.create_run(tracking.experiment_id, tags=tags).info.run_id)
        time.sleep(60)


def test_killed_process_leaves_an_ended_run_and_living_go_on(tracking):
    running, name = SPAWN.Queue(), uuid4().hex
    process = SPAWN.Process(target=hold, args=(tracking.root, tracking.uri, name, running))
    process.start()
    run_id = running.get(timeout=60)
    assert run_id not in [run.info.run_id for run in reap_orphaned_runs(tracking)]
    assert how(tracking, run_id)[0] == "RUNNING"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert run_id in [run.info.run_id for run in reap_orphaned_runs(tracking)]
    assert how(tracking, run_id) == ("KILLED", KILLED)
    assert run_id not in [run.info.run_id for run in reap_orphaned_runs(tracking)]


def test_a_run_of_another_machine_is_not_judged_from_here(tracking, run):
    run_id = run(**{run_lifecycle.LOCK: uuid4().hex, run_lifecycle.MACHINE: "another"})
    reap_orphaned_runs(tracking)
    assert how(tracking, run_id)[0] == "RUNNING"


def test_a_machine_has_one_name(tracking, tmp_path):
    assert machine_of(tracking) == machine_of(tracking)
    other = Tracking(tracking.client, tracking.uri, tracking.experiment_id, tmp_path)
    (tmp_path / "work").mkdir()
    assert machine_of(other) != machine_of(tracking)
