"""Finding in MLflow what earlier runs made; Prefect, which takes seconds to import, is not needed for it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference

SUMMARY = "summary.json"  # an artifact of such a run: what its command told at the end
KIND = "touchstone.kind"  # the tag of a run that stages are children of
SEED = "touchstone.seed."  # before a seed's number, on the run of all seeds: the pipeline run of that one
PIPELINE, SEEDS, SWEEP, SERIES, TRIAL = "pipeline", "seeds", "sweep", "series", "trial"
"""Its value on the MLflow run of a pipeline, of several seeds, of a sweep, of a series of sizes, and of a
trial of one of the last two."""
OF_PROFILES = (PIPELINE, SEEDS, SWEEP, SERIES, TRIAL)  # kinds of runs that are of a profile
TRIALS = "touchstone.trial."  # before a trial's number, on the run of a sweep: the run of that trial
CHOSEN = "touchstone.chosen"  # on the run of a sweep: the pipeline run of what was chosen


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
