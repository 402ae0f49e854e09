"""Finding what an earlier pipeline run made."""

import json
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch import PIPELINE
from tasks.errors import UsageError
from tasks.home import without_password
from tasks.outputs import ASIDE, OUTPUT, Reference, fetch, read_aside
from tasks.tracking import Tracking, open_tracking


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
    run = _pipeline_run(tracking, run_id)
    made_in = run.data.tags.get("touchstone.stage.report")
    if made_in is None:
        raise UsageError(
            f"run {run.info.run_id} has no report: it is {run.info.status}. Run its profile again"
        )
    stage = tracking.client.get_run(made_in)
    reference = Reference(
        stage="report",
        run_id=made_in,
        key=stage.data.tags["touchstone.key"],
        digest=stage.data.tags["touchstone.digest"],
        uri=stage.info.artifact_uri,
    )
    path = fetch(tracking, reference) / OUTPUT / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    cost = json.loads(read_aside(reference, "cost.json"))
    return Card(report, cost, f"{reference.uri}/{ASIDE}/report.html")


def _pipeline_run(tracking: Tracking, run_id: str | None) -> Run:
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
        f"tags.`touchstone.kind` = '{PIPELINE}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        raise UsageError("no pipeline has finished yet; start one with: touchstone run quickstart")
    return runs[0]
