"""A run while it runs, or after it: what it logged, and ending it so that it can be continued."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
from mlflow.entities import Run

from flows.server.access import credentials, kept_addresses, kept_secret, told_secret
from flows.server.servers import answers
from tasks.errors import StageError, UsageError
from tasks.record.run_lifecycle import LOCK, MACHINE, lock_path, machine_of
from tasks.record.tracking import Tracking

FLOW_RUN = "touchstone.prefect_flow_run_id"
STOPS_WITHIN = 90.0  # seconds: a checkpoint may be being written
LOG_PAGE = 200  # lines that Prefect gives at once


def cancel_run(tracking: Tracking, run: Run, wait: float = STOPS_WITHIN) -> str:
    """End a running run as Ctrl-C would; returns its status of MLflow's afterwards.

    A run of this machine is sent SIGTERM, which a command hears though it was started in the background; a
    run that a work pool was given is cancelled in Prefect, whose worker stops it.

    Raises UsageError for a run that does not run, or runs elsewhere; StageError when it does not stop.
    """
    if run.info.status != "RUNNING":
        raise UsageError(f"run {run.info.run_id[:8]} ({run.info.run_name}) is not running: {run.info.status}")
    if not _cancel_on_pool(run):
        process = _process_of(tracking, run)
        if process is None:
            raise UsageError(
                f"run {run.info.run_id[:8]} ({run.info.run_name}) runs on another machine; stop it there"
            )
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + wait
    while (status := tracking.client.get_run(run.info.run_id).info.status) == "RUNNING":
        if time.monotonic() > deadline:
            raise StageError(f"run {run.info.run_id[:8]} was asked to stop {wait:.0f} s ago and still runs")
        time.sleep(0.2)
    return status


def _process_of(tracking: Tracking, run: Run) -> int | None:
    """The process of this machine that holds the run's lock, which it does as long as it runs."""
    if run.data.tags.get(MACHINE) != machine_of(tracking):
        return None
    return holder_of(lock_path(tracking, run.data.tags[LOCK]))


def holder_of(lock: Path) -> int | None:
    """The process that has a lock file open."""
    for process in psutil.process_iter():
        try:
            if any(file.path == str(lock) for file in process.open_files()):
                return process.pid
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # another user's has no lock of ours
            continue
    return None


def _cancel_on_pool(run: Run) -> bool:
    """Cancel the run in Prefect, where it was given to a work pool; whether it was."""
    if not (os.environ.get("PREFECT_API_URL") or kept_addresses()) or FLOW_RUN not in run.data.tags:
        return False  # without a server nothing is on a pool
    from flows.server.readiness import require_prefect

    require_prefect()
    from prefect.client.orchestration import get_client  # takes seconds
    from prefect.exceptions import ObjectNotFound

    from flows.server.pools import cancel

    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(UUID(run.data.tags[FLOW_RUN]))
        except ObjectNotFound:
            return False
        if found.deployment_id is None:
            return False
        cancel(client, found.id, "cancelled with touchstone cancel")
    return True


def log_lines(tracking: Tracking, run: Run, follow: bool, pause: float = 1.0) -> Iterator[str]:
    """What a run and its stages logged, in the order of time; with `follow` until it has ended.

    Prefect must have been started or found before.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        reader = LogReader(client.read_logs)
        while True:
            ended = tracking.client.get_run(run.info.run_id).info.status != "RUNNING"
            yield from reader.new(_flow_runs(tracking, run))
            if ended or not follow:
                return
            time.sleep(pause)


def _flow_runs(tracking: Tracking, run: Run) -> list[UUID]:
    """The flow runs of a run and of the stages that were made in it."""
    children = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'", max_results=1000
    )
    found = (one.data.tags.get(FLOW_RUN) for one in (run, *children))
    return [UUID(each) for each in dict.fromkeys(found) if each]


@dataclass(frozen=True)
class PresentServer:
    """A Prefect server that answers, and the login that it is given."""

    address: str
    login: str | None


def present_server() -> PresentServer | None:
    """The server that a command here would use, if it answers: nothing is started, and nothing configured."""
    if address := os.environ.get("PREFECT_API_URL"):
        login = os.environ.get("PREFECT_API_AUTH_STRING")
    elif address := kept_addresses().get("PREFECT_API_URL"):
        secret = told_secret() or kept_secret()
        login = credentials(secret)["PREFECT_API_AUTH_STRING"] if secret else None
    if not address or not answers(f"{address}/health"):
        return None
    return PresentServer(address, login)


def last_lines(tracking: Tracking, run: Run) -> list[str]:
    """The last that a run and its stages have logged, the newest first; nothing where no server answers."""
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.sorting import LogSort
    from prefect.exceptions import PrefectException

    flow_runs, server = _flow_runs(tracking, run), present_server()
    if not flow_runs or server is None:
        return []
    try:
        with SyncPrefectClient(server.address, auth_string=server.login) as client:
            page = client.read_logs(_of(flow_runs), limit=LOG_PAGE, sort=LogSort.TIMESTAMP_DESC)
    except (httpx.HTTPError, PrefectException):  # it has just gone, or lets nobody in
        return []
    return [_told(line) for line in page if _is_ours(line)]


def _of(flow_runs: list[UUID]) -> Any:
    """A filter of Prefect's, which takes seconds to import."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    return LogFilter(flow_run_id=LogFilterFlowRunId(any_=flow_runs))


def _is_ours(line: Any) -> bool:
    return line.name.startswith("flows.")


def _told(line: Any) -> str:
    return f"{line.timestamp.astimezone():%H:%M:%S}  {line.message}"


class LogReader:
    """The log lines of some flow runs, each once."""

    def __init__(self, read_logs: Callable[..., list]) -> None:
        self._read_logs = read_logs
        self._seen: set[UUID] = set()

    def new(self, flow_runs: list[UUID]) -> Iterator[str]:
        """The lines since the last call."""
        from prefect.client.schemas.sorting import LogSort

        if not flow_runs:
            return
        wanted, offset = _of(flow_runs), 0
        while True:
            page = self._read_logs(wanted, limit=LOG_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
            for line in page:
                if line.id not in self._seen and _is_ours(line):
                    self._seen.add(line.id)
                    yield _told(line)
            offset += len(page)
            if len(page) < LOG_PAGE:
                return
