"""Removing what a plan says, so that a kill in the middle is made good by the next time."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from flows.cleaning.plan import CLEANED, Doomed, DoomedVersion, Plan, make_plan
from tasks.compat.mlflow_store import forget_runs, keeps_rows
from tasks.errors import RefusedError
from tasks.machine.kept_files import remove_path
from tasks.machine.locks import Timeout, holding
from tasks.record.tracking import Tracking, set_tags

TRACES = 100  # in one request
WAIT = 5.0  # seconds for another process that writes to the database


def remove(tracking: Tracking, plan: Plan, progress: Callable[[int, int], None]) -> list[str]:
    """Remove versions, runs and caches; returns what could not be done, for a person to read.

    A run is marked and deleted in MLflow before its files go: no look-up finds a run whose files are
    half gone, and a marked run is removed wholly the next time. What a run has found since the plan was made
    stays.

    Raises RefusedError when a run has begun since then, and while another process cleans.
    """
    try:
        with holding(tracking.work / "clean.lock", timeout=0):
            still = plan.as_of(make_plan(tracking, plan.rule, plan.profile))
            return _remove_all(tracking, still, progress)
    except Timeout as error:
        raise RefusedError(
            "another touchstone clean removes runs here at the moment; wait for its end"
        ) from error


def _remove_all(tracking: Tracking, plan: Plan, progress: Callable[[int, int], None]) -> list[str]:
    steps = [partial(_remove_version, tracking, one) for one in plan.versions]
    steps += [partial(_remove_run, tracking, one) for one in plan.runs]
    steps += [cache.remove for cache in plan.caches]
    for place, step in enumerate(steps):
        progress(place, len(steps))
        step()
    progress(len(steps), len(steps))
    return list(_shrink(tracking, plan))


def _remove_version(tracking: Tracking, one: DoomedVersion) -> None:
    """Its files first: until the version is gone, the next time finds what is left of it."""
    if one.folder is not None:
        _remove_artifacts(one.folder, one.model_id)
    tracking.client.delete_model_version(one.name, str(one.version))
    if one.model_id:
        tracking.client.delete_logged_model(one.model_id)


def _remove_run(tracking: Tracking, one: Doomed) -> None:
    client = tracking.client
    run = client.get_run(one.run_id)
    if run.info.lifecycle_stage == "active":
        for trace_ids in _traces(tracking, one.run_id):
            client.delete_traces(tracking.experiment_id, trace_ids=trace_ids)
        set_tags(client, one.run_id, {CLEANED: "yes"})
        client.delete_run(one.run_id)
    if one.folder is not None:
        _remove_artifacts(one.folder, one.run_id)


def _remove_artifacts(folder: Path, id_: str) -> None:
    """The folder of a run, or of a logged model, holds its artifacts and nothing else."""
    remove_path(folder.parent if folder.parent.name == id_ else folder)


def _traces(tracking: Tracking, run_id: str) -> Iterator[list[str]]:
    while True:
        found = tracking.client.search_traces(
            locations=[tracking.experiment_id], run_id=run_id, include_spans=False, max_results=TRACES
        )
        if not found:
            return
        yield [trace.info.trace_id for trace in found]


def _shrink(tracking: Tracking, plan: Plan) -> Iterator[str]:
    """Take the rows of removed runs out of the database, and give its pages back to the disk."""
    if not keeps_rows(tracking.uri):
        if plan.runs:
            yield (
                "the MLflow server still has the files and rows of the runs, which are deleted in it: "
                "`mlflow gc` on its machine frees them"
            )
        return
    forget_runs(tracking.uri, [one.run_id for one in plan.runs])
    if tracking.uri.startswith("sqlite:///"):
        try:
            with sqlite3.connect(tracking.uri.removeprefix("sqlite:///"), timeout=WAIT) as base:
                base.execute("VACUUM")
        except sqlite3.OperationalError as error:
            yield f"mlflow.db is as large as before: {error}. Clean again when nothing else uses it"
