"""What a flow tells at its end, kept where a command finds it on whichever machine the flow ran."""

from collections.abc import Mapping
from typing import Any

import mlflow.artifacts
from mlflow.exceptions import MlflowException
from prefect import Flow, State

from flows.dispatch.lookup import told_at_the_end
from flows.dispatch.pipeline_run import PipelineRun, without_heartbeat
from flows.dispatch.runs import KIND, SUMMARY
from flows.process.flow_body import error_in, flow_started
from flows.process.interrupts import interrupts
from flows.server.reaper import end_at_once
from tasks.errors import IncompleteError, RefusedError, StageError, TouchstoneError
from tasks.record.tracking import open_tracking


def finished(
    run: PipelineRun, told: Mapping[str, Any], error: TouchstoneError | str | None = None
) -> dict[str, Any]:
    """Keep what a command tells, on the run that its stages are children of, and return it.

    With an `error` the outcome is kept all the same, and it is raised; one that is told as text is a refusal.
    """
    raised = RefusedError(error) if isinstance(error, str) else error
    outcome = told_at_the_end(run.run_id, run.outcomes, flow_started(), told, raised)
    run.tracking.client.log_dict(run.run_id, outcome, SUMMARY)
    if raised:
        raise raised
    return outcome


def run_here(flow: Flow[..., Any], *arguments: Any, **parameters: Any) -> dict[str, Any]:
    """Run a flow in this process; what it tells, refused or not. Raises the error that ended it earlier."""
    with without_heartbeat(), interrupts.last_act(end_at_once):
        return outcome_of(flow(*arguments, **parameters, return_state=True))


def outcome_of(state: State) -> dict[str, Any]:
    """What `finished` kept of a flow, whatever its end. Raises the error that ended it before that.

    Prefect brings neither what a refused flow told, nor what a flow on another machine returned: it is read
    from MLflow.
    """
    error = None if state.is_completed() else error_in(state)
    if error is not None and not isinstance(error, RefusedError | IncompleteError):
        raise error
    kept = _kept(str(state.state_details.flow_run_id))
    if kept is None:
        raise error or StageError("the flow run is done, but what it told is not in MLflow")
    return kept


def _kept(flow_run: str) -> dict[str, Any] | None:
    """What a flow run told, and none below it; None for a refusal in the middle, which told nothing."""
    tracking = open_tracking()
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.prefect_flow_run_id` = '{flow_run}' AND tags.`{KIND}` != ''",
    )
    try:
        return mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/{SUMMARY}") if runs else None
    except MlflowException:
        return None
