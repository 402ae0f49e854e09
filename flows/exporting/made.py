"""The exports that were made, found in MLflow. Prefect is not needed for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch.runs import reference_of
from tasks.errors import StageError, UsageError
from tasks.models.folders import GGUF
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking, raise_if_away
from tasks.report.exports import FILES, ExportSummary

VERSION = "touchstone.export.version"  # tag of an export's run: the version that it is of, as NAME/3
LISTED = 100  # exports, from the newest on


@dataclass(frozen=True)
class MadeExport:
    """An export whose files are in MLflow."""

    run_id: str
    version: str | None
    """Of the registry, as NAME/3, where it is of one."""
    made: float
    """Seconds since 1970."""
    summary: ExportSummary

    @property
    def title(self) -> str:
        """`touchstone-tiny/2 as gguf: touchstone-tiny-v2-q8_0.gguf`."""
        files = ", ".join(self.gguf_files)
        return f"{self.version or self.summary.name} as {self.summary.format}" + (
            f": {files}" if files else ""
        )

    @property
    def gguf_files(self) -> list[str]:
        """Names of the files that llama.cpp reads."""
        return [name for name in self.summary.files if name.endswith(GGUF)]

    @property
    def bytes(self) -> int:
        return sum(own["bytes"] for own in self.summary.files.values())


def made_exports(tracking: Tracking) -> Iterator[MadeExport]:
    """The newest first; of exports with the same settings the last one."""
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        "tags.`touchstone.stage` = 'export' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=LISTED,
    )
    known: set[str] = set()
    for run in runs:
        key = run.data.tags["touchstone.key"]
        if key not in known and (found := _made(run)):
            known.add(key)
            yield found


def made_export(tracking: Tracking, run_id: str) -> MadeExport:
    """The export that an MLflow run made. Raises UsageError when there is none."""
    try:
        run = tracking.client.get_run(run_id)
    except MlflowException as error:
        raise UsageError(f"there is no MLflow run {run_id!r:.60}") from error
    found = _made(run) if run.data.tags.get("touchstone.stage") == "export" else None
    if found is None:
        raise UsageError(
            f"MLflow run {run_id} holds no export, or its files are gone. Export the model again"
        )
    return found


def files_of(tracking: Tracking, export: MadeExport) -> dict[str, Path]:
    """The files on this machine by name, unaltered. Raises StageError when they are gone or altered."""
    folder = fetch(tracking, reference_of(tracking, export.run_id)) / OUTPUT / FILES
    return {name: folder / name for name in export.summary.files}


def _made(run: Run) -> MadeExport | None:
    """None of an export whose files are gone, or that another version of `touchstone` wrote."""
    address = f"{run.info.artifact_uri}/{OUTPUT}/{ExportSummary.FILE}"
    try:
        summary = ExportSummary.of(mlflow.artifacts.load_dict(address), address)
    except (MlflowException, StageError) as error:
        raise_if_away(error)
        return None
    return MadeExport(run.info.run_id, run.data.tags.get(VERSION), run.info.start_time / 1000, summary)
