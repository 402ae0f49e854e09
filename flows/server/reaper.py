"""Giving an end to what died without telling: MLflow runs of dead processes, and their flow runs."""

from typing import Any
from uuid import UUID

from mlflow.entities import Run
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment
from prefect.states import Cancelled, Crashed

from flows.server.pools import cancel, cancel_children
from flows.server.readiness import is_temporary
from tasks.record.run_lifecycle import INTERRUPTED, KILLED, end, end_open_runs, reap_orphaned_runs, running
from tasks.record.tracking import Tracking, open_tracking

SPARED = "one that began later did its work"
FLOW_RUN, PIPELINE_RUN = "touchstone.prefect_flow_run_id", "touchstone.prefect_pipeline_run_id"


@flow(
    name="touchstone-reap",
    flow_run_name="reap",
    description="End the MLflow runs and flow runs of processes that are gone",
    persist_result=False,
)
def reaping() -> int:
    """What `reap` does, as a flow that an automation starts when a flow run has crashed.

    The starts that wait meanwhile are for what happened before now, so this one does for all of them: a
    pipeline that dies with its stages asks for several at once, and each would be a process of its own.
    """
    with get_client(sync_client=True) as client:
        tracking = open_tracking(wait=60)
        if deployment.id:
            _spare(client, UUID(deployment.id))
        return reap(tracking, client)


def _spare(client: SyncPrefectClient, wanted: UUID) -> None:
    """Cancel the runs of a deployment that wait to be started; those of a schedule come in their time."""
    waiting = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[wanted]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        )
    )
    for run in waiting:
        if not run.auto_scheduled:
            cancel(client, run.id, SPARED)


def reap(tracking: Tracking, client: SyncPrefectClient) -> int:
    """End every MLflow run that still says RUNNING though nobody works on it; returns how many there were.

    Dead is a run of this machine whose lock nobody holds, and a run anywhere whose flow run, or the pipeline
    that it is a part of, has ended in Prefect.
    """
    dead = reap_orphaned_runs(tracking)
    for run in dead:
        _end_flow_run(client, run, Crashed(message=KILLED))
    left = [(run, over) for run in _of_prefect(tracking) if (over := _over(client, run))]
    for run, over in left:
        if (
            tracking.client.get_run(run.info.run_id).info.status != "RUNNING"
        ):  # it ended meanwhile, well or not
            continue
        reason = f"its flow run ended {over.name}: {over.message or 'without a reason'}"
        end(tracking, run.info.run_id, "KILLED" if over.is_cancelled() else "FAILED", reason)
        _end_flow_run(client, run, over)
    return len(dead) + len(left)


def end_at_once() -> None:
    """End the MLflow runs of this process, and their flow runs where their server outlives it."""
    ended = end_open_runs()
    if is_temporary():
        return
    with get_client(sync_client=True) as client:
        for run in ended:
            _end_flow_run(client, run, Crashed(message=INTERRUPTED))


def end_what_is_left(flow: Any, flow_run: FlowRun, state: State) -> None:  # noqa: ARG001 (Prefect's names)
    """Cancel what the flow run had sent to work pools, and end the MLflow runs that it left RUNNING.

    A server of MLflow that is away just now is not waited for: the next call of `reap` does that.
    """
    with get_client(sync_client=True) as client:
        cancel_children(client, flow_run.id, f"{flow_run.name} ended: {state.name}")
        reap(open_tracking(), client)


CRASH_HOOKS: dict[str, Any] = {"on_crashed": [end_what_is_left], "on_cancellation": [end_what_is_left]}
"""For the decorator of every flow that may run on a work pool."""


def _of_prefect(tracking: Tracking) -> list[Run]:
    return running(tracking, f"tags.`{FLOW_RUN}` != ''")


def _over(client: SyncPrefectClient, run: Run) -> State | None:
    """The final state of a run's flow run, or of the pipeline in whose process it ran."""
    own = _flow_run(client, run.data.tags[FLOW_RUN])
    if own is None or own.state is None or own.state.is_final():
        return own.state if own else None
    whole = _flow_run(client, run.data.tags.get(PIPELINE_RUN, ""))
    if own.deployment_id is None and whole and whole.state and whole.state.is_final():
        return whole.state
    return None


def _flow_run(client: SyncPrefectClient, name: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(name))
    except (ObjectNotFound, ValueError):  # of another Prefect server, or of none
        return None


def _end_flow_run(client: SyncPrefectClient, run: Run, state: State) -> None:
    """End the flow run of a dead MLflow run alike, when Prefect still believes it to be running."""
    found = _flow_run(client, run.data.tags.get(FLOW_RUN, ""))
    if found and found.state and not found.state.is_final():
        kind = Cancelled if state.is_cancelled() else Crashed
        client.set_flow_run_state(found.id, kind(message=state.message), force=True)
