"""Responses of one model to rows of anyone's, as a flow."""

from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.generating.inputs import ModelInput
from flows.generating.stages import generated
from flows.process.flow_body import flow_body
from flows.server.reaper import CRASH_HOOKS
from tasks.config import DownloadConfig, GenerateConfig

KIND = "generate"  # the value of the tag touchstone.kind on such a run


@flow(
    name="touchstone-generate",
    flow_run_name="generate by {model.name}",
    description="Rows with the responses of one model",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def generating(
    model: ModelInput,
    source: Annotated[DownloadConfig, Field(title="Rows", description="where the rows are")],
    columns: Annotated[
        dict[str, str], Field(title="Columns", description="what its columns are called: output: answer")
    ],
    config: Annotated[GenerateConfig, Field(title="Generation", description="how it decodes, and where")],
    refresh: Annotated[
        Sequence[str], Field(title="Refresh", description="stages to do again though they were done")
    ] = (),
) -> State | dict[str, Any]:
    """Respond to rows; returns what `touchstone generate --json` prints, or a failed state."""
    settings = {"model": model.name, "source": source, "generate": config}
    with pipeline_run(f"generate by {model.name}", settings, refresh, KIND) as run:
        return finished(run, *generated(run, model, source, columns, config))
