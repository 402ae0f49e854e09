"""Two models' responses to the same rows, from runs or from files, compared."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import State, flow

from flows.dispatch.crash_hooks import CRASH_HOOKS
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.judging.comparison import compared
from flows.judging.inputs import ComparisonInput
from flows.process.states import failed
from tasks.config import CompareConfig, JudgeConfig, ResponsesConfig
from tasks.errors import TouchstoneError


@flow(
    name="touchstone-compare",
    flow_run_name="compare {name_a} with {name_b}",
    description="Two models' responses to the same rows: scored alike, and compared row by row",
    persist_result=False,
    **CRASH_HOOKS,
)
def comparing(
    name_a: str,
    name_b: str,
    a: ComparisonInput,
    b: ComparisonInput,
    responses: ResponsesConfig,
    judge: JudgeConfig,
    config: CompareConfig,
    refresh: Sequence[str] = (),
) -> State | dict[str, Any]:
    """Compare A with B; returns what `touchstone compare --json` prints, or a failed state."""
    started = time.monotonic()
    settings = {
        "a": name_a,
        "b": name_b,
        "judge": judge.model_dump(mode="json"),
        "compare": config.model_dump(mode="json"),
    }
    try:
        with pipeline_run(f"compare {name_a} with {name_b}", settings, refresh, "compare") as chain:
            told, error = compared(chain, name_a, name_b, (a, b), responses, judge, config)
            return finished(chain, started, told, error)
    except TouchstoneError as error:
        return failed(error)
