"""Sending a stage to a work pool, and waiting for it: alive, followed, cancelled, never replaced."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Cancelling, Crashed

from flows.process.flow_body import error_in
from flows.process.intervals import intervals
from flows.stages import GPU, deployment_name
from tasks.config import Pools, Reuse, StageConfig
from tasks.errors import CrashedError, StageError, StoppedError
from tasks.record.work import Reference, Stage

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOG_PAGE = 200  # lines that Prefect gives at once
TAG = "touchstone"  # of the flow runs that a server's automations look after
MISSED = 4  # heartbeats that a worker may miss before it counts as gone
QUIET = 10.0  # seconds until it is told that a run has not begun


def deployment_of(stage: Stage, config: StageConfig) -> str | None:
    """The deployment that a stage is sent to, or None for one that runs where the pipeline does.

    Training and generation want a GPU, and so does a judge that is a model of this process.
    """
    return f"{stage.name}/{deployment_name(stage, GPU)}" if stage.wants_gpu(config) else None


def run_on_pool(
    deployment: str,
    config: StageConfig,
    inputs: dict[str, Reference],
    label: str,
    parent: str,
    pipeline: str,
    refresh: bool,
    reuse: Reuse,
    pools: Pools,
    say: Callable[[str], None],
) -> None:
    """Run a stage as a deployment, as a child of the present flow run, until its output is in MLflow.

    What it logs of its progress is told through `say`. What a flow returns is kept on the machine that it
    ran on, so nothing is returned: it names its MLflow run on that of `parent`. A child that crashes is
    started again, up to `pools.max_restarts` times: it goes on from its checkpoint.

    Raises the child's own error; CrashedError, StoppedError when it crashed or was cancelled; StageError when
    no worker lives, Prefect is gone, or time is over. The child is cancelled when the caller is.
    """
    parameters = {
        "config": config.model_dump(mode="json"),
        "inputs": {name: reference.model_dump() for name, reference in inputs.items()},
        "label": label,
        "parent": parent,
        "pipeline": pipeline,
        "refresh": refresh,
        "reuse": reuse,
    }
    for attempt in range(pools.max_restarts + 1):
        try:
            _attempt(deployment, parameters, label, pools, say)
            return
        except CrashedError as error:
            if attempt == pools.max_restarts:
                raise
            say(f"{label}: {error}; started again, {attempt + 1} of {pools.max_restarts}")
            parameters["refresh"] = False  # what the dead attempt began afresh is gone on with


def _attempt(
    deployment: str,
    parameters: dict[str, object],
    label: str,
    pools: Pools,
    say: Callable[[str], None],
) -> None:
    with get_client(sync_client=True) as client:
        wait_for_worker(client, pool_of(client, deployment))
        once = uuid4().hex  # asked for again, it is still the same run
        child = retry_until_available(
            lambda: run_deployment(
                deployment,
                parameters=parameters,
                flow_run_name=f"{parameters['pipeline']}: {label}",
                timeout=0,
                as_subflow=True,
                tags=[TAG, "stage"],
                idempotency_key=once,
            )
        )
        try:
            state = _wait(client, child, pools, say)
        except BaseException as error:
            cancel_quietly(client, child.id, str(error) or "the pipeline was interrupted, or cancelled")
            raise
        if not state.is_completed():
            raise error_in(state)


def pool_of(client: SyncPrefectClient, name: str) -> str:
    try:
        pool = retry_until_available(lambda: client.read_deployment_by_name(name)).work_pool_name
    except ObjectNotFound as error:
        raise StageError(
            f"there is no deployment {name} on the Prefect server {client.api_url}. "
            "Create the deployments with: touchstone deploy"
        ) from error
    if pool is None:
        raise StageError(f"the deployment {name} is on no work pool. Put it on one with: touchstone deploy")
    return pool


def live_workers(client: SyncPrefectClient, pool: str) -> list[str]:
    """The workers of a pool that have said lately that they live; Prefect's own word lags by 90 s."""
    now = datetime.now(UTC)
    return [
        worker.name
        for worker in retry_until_available(lambda: client.read_workers_for_work_pool(pool))
        if worker.last_heartbeat_time
        and (now - worker.last_heartbeat_time).total_seconds()
        < MISSED * (worker.heartbeat_interval_seconds or 30)
    ]


def wait_for_worker(client: SyncPrefectClient, pool: str) -> None:
    """One that is being restarted is waited for; no other machine takes its place."""
    if retry_until_available(lambda: client.read_work_pool(pool)).is_paused:
        raise StageError(f"the work pool {pool} is paused. Resume it: prefect work-pool resume {pool}")
    deadline = time.monotonic() + intervals().worker_away
    while not live_workers(client, pool):
        if time.monotonic() > deadline:
            raise StageError(
                f"no live worker on the work pool {pool}. Start one where its hardware is: "
                f"touchstone worker {pool}"
            )
        time.sleep(intervals().poll)


def _wait(client: SyncPrefectClient, child: FlowRun, pools: Pools, say: Callable[[str], None]) -> State:
    """The final state of a child; what it logs of its progress meanwhile is told on."""
    began = time.monotonic()
    deadline = began + 3600 * pools.timeout_hours
    watch, log_lines, is_waiting = Watch(client), RunLog(client, child.id), True
    while True:
        found = retry_until_available(lambda: client.read_flow_run(child.id))
        for message in log_lines.new():
            is_waiting = False
            say(message)
        if found.state is not None and found.state.is_final():
            return found.state
        if is_waiting and time.monotonic() - began > QUIET:
            is_waiting = False
            say(f"{child.name}: waiting for a worker of {found.work_pool_name} to begin it")
        if time.monotonic() > deadline:
            raise StageError(
                f"it was not done after {pools.timeout_hours:g} hours and was cancelled; run again with a "
                "greater pools.timeout_hours, and it goes on from its checkpoint"
            )
        watch.check(found)
        time.sleep(intervals().poll)


class RunLog:
    """What a flow run logs of its stages, a line at a time."""

    def __init__(self, client: SyncPrefectClient, run: UUID) -> None:
        self._client = client
        self._filter = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        self._read = 0

    def new(self) -> Iterator[str]:
        """The lines since the last call."""
        while True:
            page = retry_until_available(
                lambda: self._client.read_logs(
                    self._filter, limit=LOG_PAGE, offset=self._read, sort=LogSort.TIMESTAMP_ASC
                )
            )
            self._read += len(page)
            yield from (line.message for line in page if line.name.startswith("flows."))
            if len(page) < LOG_PAGE:
                return


class Watch:
    """Whether there is hope yet for a flow run that is not done: Prefect leaves some waiting for ever."""

    def __init__(self, client: SyncPrefectClient, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self._clock = clock
        self._since: tuple[str | None, float] = (None, 0.0)  # the state that it is in, and since when

    def check(self, run: FlowRun) -> None:
        """Raises StageError when no worker is left to take it, CrashedError when the one that did is dead."""
        now, longest = self._clock(), intervals().worker_away
        state = run.state_name
        if state != self._since[0]:
            self._since = state, now
        if now - self._since[1] < longest or run.state is None:
            return
        if run.state.is_pending() and self._starts_at_once(run):
            reason = f"its worker took it and did not start it within {longest:.0f} s"
            retry_until_available(
                lambda: self.client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
            )
            raise CrashedError(reason)
        if run.state.type == StateType.CANCELLING:
            raise StoppedError("it was being cancelled, and whoever ran it does not answer")
        if run.state.is_scheduled() and not live_workers(self.client, run.work_pool_name or ""):
            raise StageError(
                f"the last worker of the work pool {run.work_pool_name} is gone before it was started. Start "
                f"one: touchstone worker {run.work_pool_name}"
            )

    def _starts_at_once(self, run: FlowRun) -> bool:
        """A process does; a container may first have to be fetched."""
        pool = retry_until_available(lambda: self.client.read_work_pool(run.work_pool_name or ""))
        return pool.type == "process"


def retry_until_available(ask: Callable[[], Answer]) -> Answer:
    """Ask Prefect, and go on asking while its server is being restarted.

    Raises StageError when it stays away.
    """
    deadline = time.monotonic() + intervals().prefect_away
    while True:
        try:
            return ask()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise  # it answers, and will say the same again
            if time.monotonic() > deadline:
                raise StageError(f"the Prefect server does not answer any more: {error}") from error
            time.sleep(intervals().poll)


def cancel_quietly(client: SyncPrefectClient, flow_run_id: UUID, reason: str) -> None:
    """Cancel a child on the way out; that it fails must not take the place of why we leave."""
    try:
        cancel(client, flow_run_id, reason)
    except (httpx.HTTPError, PrefectException) as error:
        log.warning("the flow run %s could not be cancelled: %s", flow_run_id, error)


def cancel(client: SyncPrefectClient, flow_run_id: UUID, reason: str) -> None:
    """Ask the worker of a flow run to stop it; one that no worker has taken is cancelled at once."""
    found = client.read_flow_run(flow_run_id)
    if found.state is None or found.state.is_final():
        return
    waiting = found.state.is_scheduled()
    client.set_flow_run_state(
        flow_run_id, Cancelled(message=reason) if waiting else Cancelling(message=reason), force=True
    )


def cancel_children(client: SyncPrefectClient, flow_run_id: UUID, reason: str) -> None:
    """Cancel what a flow run has sent to work pools and is not done."""
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    for child in client.read_flow_runs(flow_run_filter=children):
        if child.deployment_id:
            cancel(client, child.id, reason)
