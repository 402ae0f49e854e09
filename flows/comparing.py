"""Two models' responses to the same rows, from runs or from files, compared."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import State, flow

from flows.dispatch import Chain, pipeline_run
from flows.hooks import AT_A_DEATH
from flows.judging import audits, refusal
from flows.results import finished
from flows.runs import read_output
from flows.sides import Side
from flows.states import failed
from tasks.comparison.pairs import paired
from tasks.config import CompareConfig, JudgeConfig, ResponsesConfig
from tasks.errors import TouchstoneError
from tasks.judge.responses import RESPONSES, read_rows
from tasks.outputs import OUTPUT, Reference, fetch


@flow(
    name="touchstone-compare",
    flow_run_name="compare {name_a} with {name_b}",
    description="Two models' responses to the same rows: scored alike, and compared row by row",
    persist_result=False,
    **AT_A_DEATH,
)
def comparing(
    name_a: str,
    name_b: str,
    a: Side,
    b: Side,
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
            ours, theirs = (
                _responses(chain, side, "ab"[place], responses) for place, side in enumerate((a, b))
            )
            _require_pairs(chain, ours, theirs, config)
            audited = audits(chain, judge, ours)
            scores = {
                f"{name}_scores": chain.run("judge", judge, f"judge {name}", responses=own, **audited)
                for name, own in (("a", ours), ("b", theirs))
            }
            shown_both = audited if config.mode == "pairwise" else {}
            made = chain.run("compare", config, a_responses=ours, b_responses=theirs, **scores, **shown_both)
            told = {"a": name_a, "b": name_b, **read_output(chain.tracking, made, "compare.json")}
            return finished(chain, started, told, refusal(chain, audited, judge))
    except TouchstoneError as error:
        return failed(error)


def _require_pairs(chain: Chain, a: Reference, b: Reference, config: CompareConfig) -> None:
    """Raises UsageError when the two are not of the same rows, before a judge is asked about them."""
    rows = [read_rows(fetch(chain.tracking, side) / OUTPUT / RESPONSES) for side in (a, b)]
    paired(*rows, only_common=config.only_common)


def _responses(chain: Chain, side: Side, name: str, config: ResponsesConfig) -> Reference:
    if side.responses:
        return side.responses
    downloaded = chain.run("download", side.file, f"download {name}")
    return chain.run("responses", config, f"responses {name}", source=downloaded)
