"""How an MLflow run ends: as what it stands for ended, also when that was killed."""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Run

from tasks.errors import StoppedError, TouchstoneError
from tasks.machine.disk import explained
from tasks.machine.home import without_password
from tasks.machine.locks import Timeout, holding, sweep_locks
from tasks.machine.secrets import redacted
from tasks.record.tracking import Tracking, explained_by_store, is_reachable, set_tags

log = logging.getLogger(__name__)

ERROR = "touchstone.error"  # why a run did not end well
LOCK, MACHINE = "touchstone.lock", "touchstone.machine"  # what a running run holds, and where
KILLED = "the process was killed"
INTERRUPTED = "interrupted, or cancelled"


def machine_of(tracking: Tracking) -> str:
    """A name for this work folder, made once: runs that it is written on hold their locks in it."""
    path = tracking.work / "machine"
    with holding(f"{path}.lock"):
        if not path.is_file():
            path.write_text(uuid.uuid4().hex, encoding="utf-8")
        return path.read_text(encoding="utf-8")


def lock_path(tracking: Tracking, name: str) -> Path:
    """The lock that a running run holds; the system frees it when the process dies, however it dies."""
    return tracking.work / f"{name}.lock"


def lock_tags(tracking: Tracking, name: str) -> dict[str, str]:
    """The tags of a run whose process holds the lock of that name."""
    return {LOCK: name, MACHINE: machine_of(tracking)}


_open: dict[str, Tracking] = {}  # the runs that this process is about, by their ids


@contextmanager
def ending(
    tracking: Tracking,
    run_id: str,
    last: Callable[[], None] | None = None,
    on_defect: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Give the MLflow run the end that the body has, with the reason.

    `last` is called before a bad end, `on_defect` before that when the error is none that a user can fix.
    Raises the body's error, or the one about the disk that explains it.
    """
    _open[run_id] = tracking
    try:
        yield
    except BaseException as error:
        told = explained_by_store(error, tracking.uri) or explained(error, tracking.root)
        if on_defect and isinstance(told, Exception) and not isinstance(told, TouchstoneError):
            on_defect()
        end_badly(tracking, run_id, told, last)
        if told is error:
            raise
        raise told from error
    else:
        tracking.client.set_terminated(run_id, "FINISHED")
        # These are of running runs alone: what is left says what the run was.
        for tag in {LOCK, MACHINE} & tracking.client.get_run(run_id).data.tags.keys():
            tracking.client.delete_tag(run_id, tag)
    finally:
        del _open[run_id]


def end_badly(
    tracking: Tracking, run_id: str, error: BaseException, last: Callable[[], None] | None = None
) -> None:
    """End an MLflow run FAILED, or KILLED for an interruption, with the reason as a tag.

    What goes wrong here is only logged: it must not take the place of the error that is being told. A server
    that is gone is not waited for: the run is ended by `end_the_dead` once it is back.
    """
    if not is_reachable(tracking.uri):
        log.warning(
            "the MLflow run %s could not be ended: %s does not answer", run_id, without_password(tracking.uri)
        )
        return
    try:
        if last:
            last()
    except Exception as second:
        log.warning("the last numbers of the MLflow run %s are lost: %s", run_id, second)
    try:
        told = str(error)[:5000] or type(error).__name__
        reason = told if isinstance(error, Exception) else INTERRUPTED
        ended_well = isinstance(error, Exception) and not isinstance(error, StoppedError)
        end(tracking, run_id, "FAILED" if ended_well else "KILLED", reason)
    except Exception as second:
        log.warning("the MLflow run %s could not be ended: %s", run_id, second)


def end(tracking: Tracking, run_id: str, status: str, reason: str) -> None:
    """End a run with a status of MLflow's and the reason."""
    set_tags(tracking.client, run_id, {ERROR: redacted(reason)})
    tracking.client.set_terminated(run_id, status)


def end_open_runs() -> list[Run]:
    """End the runs of this process though their work is not over: it is about to end. Returns them."""
    ended = []
    for run_id, tracking in reversed(_open.copy().items()):
        end(tracking, run_id, "KILLED", INTERRUPTED)
        ended.append(tracking.client.get_run(run_id))
    return ended


def running(tracking: Tracking, condition: str) -> list[Run]:
    """The runs that MLflow believes to be running, of those that a filter of MLflow's finds."""
    return tracking.client.search_runs(
        [tracking.experiment_id], f"attributes.status = 'RUNNING' AND {condition}"
    )


def reap_orphaned_runs(tracking: Tracking) -> list[Run]:
    """End the runs of this machine whose process is gone: nobody holds their lock. Returns them.

    Lock files that killed processes left are removed.
    """
    dead = []
    for run in running(tracking, f"tags.`{MACHINE}` = '{machine_of(tracking)}'"):
        try:
            with holding(lock_path(tracking, run.data.tags[LOCK]), timeout=0):
                if tracking.client.get_run(run.info.run_id).info.status == "RUNNING":  # not ended meanwhile
                    end(tracking, run.info.run_id, "KILLED", KILLED)
                    dead.append(run)
        except Timeout:
            continue
    for folder in (tracking.work, tracking.work / "downloads"):
        sweep_locks(folder)
    return dead
