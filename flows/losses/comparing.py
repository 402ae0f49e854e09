"""The comparison of losses as a flow of Prefect's."""

from collections.abc import Sequence
from typing import Any

from prefect import State, flow

from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.losses.inputs import PretrainedInput, compared_losses
from flows.process.flow_body import flow_body
from flows.server.reaper import CRASH_HOOKS


@flow(
    name="touchstone-losses",
    flow_run_name="compare losses of {a.name} with {b.name}",
    description="Two pretrained models' losses on the same text",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def comparing_losses(
    a: PretrainedInput, b: PretrainedInput, refresh: Sequence[str] = ()
) -> State | dict[str, Any]:
    """Compare A with B; returns what `touchstone compare --json` prints, or a failed state."""
    settings = {"a": a.name, "b": b.name}
    with pipeline_run(f"compare {a.name} with {b.name}", settings, refresh, "compare") as run:
        return finished(run, *compared_losses(run, a, b))
