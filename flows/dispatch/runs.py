"""Finding in MLflow what earlier runs made; Prefect, which takes seconds to import, is not needed for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.errors import UsageError
from tasks.machine.home import without_password
from tasks.machine.json_files import read_json
from tasks.record.outputs import ASIDE, OUTPUT, fetch, read_aside
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.registry.champions import now

KIND = "touchstone.kind"  # the tag of a run that stages are children of
SEED = "touchstone.seed."  # before a seed's number, on the run of all seeds: the pipeline run of that one
PIPELINE, SEEDS = (
    "pipeline",
    "seeds",
)  # its value on a pipeline's own MLflow run, and on that of several seeds


def read_output(tracking: Tracking, reference: Reference, name: str) -> Any:
    """A JSON file of a stage's output."""
    return read_json(fetch(tracking, reference) / OUTPUT / name)


@dataclass(frozen=True)
class Card:
    """A report card: what it shows, what that cost, and the address of its page."""

    report: dict[str, Any]
    cost: dict[str, Any]
    page: str
    now: str | None
    """What became of the promotion since, where that is not what the card says."""


def load_report(run_id: str | None = None) -> Card:
    """The report card of a pipeline run, by default the newest that came to its end.

    Raises UsageError when there is no such run, or it has no report.
    """
    tracking = open_tracking()
    run = pipeline_run_of(tracking, run_id)
    made_in = run.data.tags.get(f"{MADE_BY}report")
    if made_in is None:
        raise UsageError(
            f"run {run.info.run_id} has no report: it is {run.info.status}. Run its profile again"
        )
    reference = reference_of(tracking, made_in)
    report = read_output(tracking, reference, "report.json")
    cost = json.loads(read_aside(reference, "cost.json"))
    return Card(report, cost, f"{reference.uri}/{ASIDE}/report.html", _now(tracking, report))


def _now(tracking: Tracking, report: Mapping[str, Any]) -> str | None:
    if "promotion" not in report:
        return None
    promotion = report["promotion"]
    return now(tracking, promotion["name"], promotion["version"], promotion["champion"])


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

    Of several seeds the newest is the run of all, once that has a report.

    Raises UsageError when there is none.
    """
    if run_id is not None:
        try:
            run = tracking.client.get_run(run_id)
            parent = None if KIND in run.data.tags else run.data.tags.get("mlflow.parentRunId")
            return (
                tracking.client.get_run(parent) if parent else run
            )  # a stage's run stands for its pipeline's
        except MlflowException as error:
            raise UsageError(
                f"there is no MLflow run {run_id} in {without_password(tracking.uri)}"
            ) from error
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{KIND}` = '{PIPELINE}' AND tags.`{MADE_BY}report` != ''",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        raise UsageError("no pipeline has finished yet; start one with: touchstone run quickstart")
    group = runs[0].data.tags.get("mlflow.parentRunId")
    whole = tracking.client.get_run(group) if group else runs[0]
    return whole if f"{MADE_BY}report" in whole.data.tags else runs[0]
