"""Finding in MLflow what earlier runs made; Prefect, which takes seconds to import, is not needed for it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.errors import UsageError
from tasks.machine.home import without_password
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking
from tasks.record.work import Reference

KIND = "touchstone.kind"  # the tag of a run that stages are children of
SEED = "touchstone.seed."  # before a seed's number, on the run of all seeds: the pipeline run of that one
PIPELINE, SEEDS = (
    "pipeline",
    "seeds",
)  # its value on a pipeline's own MLflow run, and on that of several seeds


Output = TypeVar("Output")


def read_output(tracking: Tracking, reference: Reference, read: Callable[[Path], Output]) -> Output:
    """What `read` makes of the folder of a stage's output."""
    return read(fetch(tracking, reference) / OUTPUT)


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
