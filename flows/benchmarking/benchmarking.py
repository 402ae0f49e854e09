"""Models asked the tasks of a benchmark, as a flow."""

from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.benchmarking.stages import benchmarked
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.generating.inputs import ModelInput
from flows.process.flow_body import flow_body
from flows.server.reaper import CRASH_HOOKS
from tasks.config import BenchmarkConfig

KIND = "benchmark"  # the value of the tag touchstone.kind on such a run


@flow(
    name="touchstone-benchmark",
    flow_run_name="benchmark {name}",
    description="Models asked the tasks of a benchmark",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def benchmarking(
    name: Annotated[str, Field(title="Name", description="what the run is called")],
    models: Sequence[ModelInput],
    config: Annotated[BenchmarkConfig, Field(title="Benchmark", description="what they are asked")],
    refresh: Annotated[
        Sequence[str], Field(title="Refresh", description="stages to do again though they were done")
    ] = (),
) -> State | dict[str, Any]:
    """Ask models; returns what `touchstone benchmark --json` prints, or a failed state."""
    settings = {"models": ", ".join(model.name for model in models), "benchmark": config}
    with pipeline_run(f"benchmark {name}", settings, refresh, KIND) as run:
        return finished(run, *benchmarked(run, models, config))
