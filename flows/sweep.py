"""Giving an end to what died without telling: MLflow runs of dead processes, and their flow runs."""

from uuid import UUID

from mlflow.entities import Run
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from tasks.endings import KILLED, end, end_the_dead, running
from tasks.tracking import Tracking, open_tracking

FLOW_RUN, PIPELINE_RUN = "touchstone.prefect_flow_run_id", "touchstone.prefect_pipeline_run_id"


@flow(
    name="touchstone-sweep",
    flow_run_name="sweep",
    description="End the MLflow runs and flow runs of processes that are gone",
    persist_result=False,
)
def sweeping() -> int:
    """What `sweep` does, as a flow that an automation starts when a flow run has crashed."""
    with get_client(sync_client=True) as client:
        return sweep(open_tracking(wait=60), client)


def sweep(tracking: Tracking, client: SyncPrefectClient) -> int:
    """End every MLflow run that still says RUNNING though nobody works on it; returns how many there were.

    Dead is a run of this machine whose lock nobody holds, and a run anywhere whose flow run, or the pipeline
    that it is a part of, has ended in Prefect.
    """
    dead = end_the_dead(tracking)
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
