"""Exports: the stage in a pipeline or by itself, and what is done with the files that it wrote."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.dispatch.stage_flows import artifact_key
from flows.exporting.made import VERSION
from flows.exporting.sources import find_exported
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.server.readiness import stages_to_refresh
from flows.server.reaper import CRASH_HOOKS
from tasks.config import BaseConfig, ExportConfig
from tasks.export.deliver import deliver, require_places
from tasks.export.document import as_document
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking, set_tags
from tasks.record.work import Reference
from tasks.report.exports import FILES, ExportSummary
from tasks.show.markdown import as_markdown

EXPORT = "export"  # the value of the tag touchstone.kind on the run of an export


@flow(
    name="touchstone-export",
    flow_run_name="export {model} as {config.to}",
    description="A model as files that other programs read, checked by reading them back",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def exporting(
    model: Annotated[
        str, Field(title="Model", description="NAME, NAME@champion, NAME/3, a run, @latest, or a folder")
    ],
    config: Annotated[ExportConfig, Field(title="Export", description="in which form, and where to")],
    refresh: Annotated[
        Sequence[str], Field(title="Refresh", description="stages to do again: base, export")
    ] = (),
) -> State | dict[str, Any]:
    """Export a model; returns what `touchstone export --json` prints, or a failed state."""
    again = stages_to_refresh(refresh, ["base", "export"])
    require_places(config)
    settings = {"model": model, "export": config.model_dump(mode="json")}
    with pipeline_run(f"export {model}", settings, again, EXPORT) as run:
        found = find_exported(run.tracking, model)
        inputs = found.inputs
        if found.folder:
            inputs = {"model": run.stage("base", BaseConfig(model=str(found.folder)))}
        _, told = export_model(run, config, inputs, found.version, found.name)
        return finished(run, {"export": told})


def file_name(text: str | None) -> str:
    """A name as files and Ollama take it."""
    kept = "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "-" for one in text or "")
    return kept.strip("-._") or "model"


def export_model(
    run: PipelineRun,
    config: ExportConfig,
    inputs: Mapping[str, Reference | None],
    version: tuple[str, int] | None,
    name: str | None = None,
) -> tuple[Reference, dict[str, Any]]:
    """Write a model's files, or find them; bring them to where they are wanted, and note them on its version.

    `name` is for files where the settings have none. Returns the stage's output and what is told of it.
    """
    if config.name is None:
        config = config.model_copy(update={"name": file_name(name)})
    reference = run.stage("export", config, **inputs)
    summary = read_output(run.tracking, reference, ExportSummary.read).as_json()
    if version:
        _note_on(run.tracking, version, config, reference, summary)
    create_markdown_artifact(
        as_markdown(as_document(summary)), key=artifact_key(f"export-{config.name}"), description="Export"
    )
    folder = fetch(run.tracking, reference) / OUTPUT
    delivered = []
    for line in deliver(config, folder):
        console.say(f"  export: {line}")
        delivered.append(line)
    where = {"digest": reference.digest, "run_id": reference.run_id, "folder": str(folder / FILES)}
    return reference, {**summary, **where, "delivered": delivered}


def _note_on(
    tracking: Tracking,
    version: tuple[str, int],
    config: ExportConfig,
    reference: Reference,
    summary: Mapping[str, Any],
) -> None:
    """On the version: of each file its digest, and the run that it is an artifact of."""
    name, number = version
    kinds = "-".join(config.quantize)
    noted = {
        "run_id": reference.run_id,
        "digest": reference.digest,
        "files": {file: own["sha256"] for file, own in summary["files"].items()},
    }
    tag = f"touchstone.export.{config.to}{f'.{kinds}' if kinds else ''}"
    tracking.client.set_model_version_tag(name, str(number), tag, json.dumps(noted, allow_nan=False))
    set_tags(tracking.client, reference.run_id, {VERSION: f"{name}/{number}"})
