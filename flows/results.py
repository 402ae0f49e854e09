"""Finding what an earlier pipeline run made."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow.artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from prefect import State

from flows.dispatch import PIPELINE, Chain
from flows.states import error_in
from tasks.errors import RefusedError, UsageError
from tasks.home import without_password
from tasks.json_files import read_json
from tasks.outputs import ASIDE, OUTPUT, Reference, fetch, read_aside
from tasks.tracking import Tracking, open_tracking

SUMMARY = "summary.json"


def read_output(tracking: Tracking, reference: Reference, name: str) -> Any:
    """A JSON file of a stage's output."""
    return read_json(fetch(tracking, reference) / OUTPUT / name)


def finished(chain: Chain, started: float, told: Mapping[str, Any], error: str | None) -> dict[str, Any]:
    """Keep what a command tells, on the run that its stages are children of, and return it.

    `started` is the time on the monotonic clock. With an `error` the outcome is a refusal: it is kept all
    the same, and RefusedError is raised.
    """
    outcome = {
        "status": "refused" if error else "completed",
        **({"error": error} if error else {}),
        "run_id": chain.run_id,
        "seconds": round(time.monotonic() - started, 3),
        "stages": [outcome.model_dump() for outcome in chain.outcomes],
        **told,
    }
    chain.tracking.client.log_dict(chain.run_id, outcome, SUMMARY)
    if error:
        raise RefusedError(error)
    return outcome


def outcome_of(state: State) -> dict[str, Any]:
    """What `finished` kept of a flow, refused or not. Raises the error that ended it before that.

    A failed state of Prefect brings along its message alone, so what a refused flow told is read from MLflow.
    """
    if state.is_completed():
        return state.result()
    error = error_in(state)
    kept = _refused(str(state.state_details.flow_run_id)) if isinstance(error, RefusedError) else None
    if kept is None:
        raise error
    return kept


def _refused(flow_run: str) -> dict[str, Any] | None:
    """What a flow run told before it was refused; None for a refusal in the middle, which told nothing."""
    tracking = open_tracking()
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.prefect_pipeline_run_id` = '{flow_run}' AND tags.`touchstone.kind` != ''",
    )
    try:
        return mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/{SUMMARY}") if runs else None
    except MlflowException:
        return None


@dataclass(frozen=True)
class Card:
    """A report card: what it shows, what that cost, and the address of its page."""

    report: dict[str, Any]
    cost: dict[str, Any]
    page: str


def load_report(run_id: str | None = None) -> Card:
    """The report card of a pipeline run, by default the newest that came to its end.

    Raises UsageError when there is no such run, or it has no report.
    """
    tracking = open_tracking()
    run = pipeline_run_of(tracking, run_id)
    made_in = run.data.tags.get("touchstone.stage.report")
    if made_in is None:
        raise UsageError(
            f"run {run.info.run_id} has no report: it is {run.info.status}. Run its profile again"
        )
    reference = reference_of(tracking, made_in)
    report = read_output(tracking, reference, "report.json")
    cost = json.loads(read_aside(reference, "cost.json"))
    return Card(report, cost, f"{reference.uri}/{ASIDE}/report.html")


def reference_of(tracking: Tracking, run_id: str) -> Reference:
    """The output of a finished stage, by its MLflow run."""
    run = tracking.client.get_run(run_id)
    tags = run.data.tags
    return Reference(
        stage=tags["touchstone.stage"],
        run_id=run_id,
        key=tags["touchstone.key"],
        digest=tags["touchstone.digest"],
        uri=run.info.artifact_uri,
    )


def pipeline_run_of(tracking: Tracking, run_id: str | None) -> Run:
    """The MLflow run that stages are children of, by its id or one of theirs; else the newest with a report.

    Raises UsageError when there is none.
    """
    if run_id is not None:
        try:
            run = tracking.client.get_run(run_id)
            parent = run.data.tags.get("mlflow.parentRunId")  # a stage's run stands for its pipeline's
            return tracking.client.get_run(parent) if parent else run
        except MlflowException as error:
            raise UsageError(
                f"there is no MLflow run {run_id} in {without_password(tracking.uri)}"
            ) from error
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.kind` = '{PIPELINE}' AND tags.`touchstone.stage.report` != ''",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        raise UsageError("no pipeline has finished yet; start one with: touchstone run quickstart")
    return runs[0]
