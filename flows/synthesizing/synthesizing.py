"""Rows that a language model makes, as a flow."""

from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.process.flow_body import flow_body
from flows.server.reaper import CRASH_HOOKS
from flows.synthesizing.models import find_models
from flows.synthesizing.stages import made
from tasks.config import DownloadConfig, SynthesizeConfig

KIND = "synthesize"  # the value of the tag touchstone.kind on such a run


@flow(
    name="touchstone-synthesize",
    flow_run_name="synthesize {config.kind}",
    description="Rows that a language model makes, from passages of a corpus or from rows",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def synthesizing(
    source: Annotated[
        DownloadConfig, Field(title="From", description="the corpus, or the rows that others are made of")
    ],
    config: Annotated[SynthesizeConfig, Field(title="Synthesis", description="what is made, and by whom")],
    columns: Annotated[
        dict[str, str], Field(title="Columns", description="what columns of rows are called: output: answer")
    ],
    refresh: Annotated[
        Sequence[str], Field(title="Refresh", description="stages to do again though they were done")
    ] = (),
) -> State | dict[str, Any]:
    """Make rows; returns what `touchstone synthesize --json` prints, or a failed state."""
    find_models(config)
    settings = {"source": source, "synthesize": config}
    with pipeline_run(f"synthesize {config.kind}", settings, refresh, KIND) as run:
        return finished(run, *made(run, source, config, columns))
