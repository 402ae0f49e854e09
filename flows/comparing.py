"""Two models' responses to the same rows, from runs or from files, compared."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import State, flow

from flows.dispatch import Chain, pipeline_run
from flows.judging import audits, refusal
from flows.results import finished, pipeline_run_of, read_output, reference_of
from flows.states import failed
from tasks.comparison.pairs import paired
from tasks.config import CompareConfig, DownloadConfig, JudgeConfig, ResponsesConfig, source_from_text
from tasks.errors import TouchstoneError, UsageError
from tasks.judge.responses import RESPONSES, read_rows
from tasks.outputs import OUTPUT, Reference, fetch, read_aside
from tasks.tracking import Tracking, open_tracking

STAGE = "touchstone.stage."  # tags of a run: the stages that its results are of
GENERATED, SCORED = "generate ", "judge "  # what the labels of a pipeline's stages begin with


@dataclass(frozen=True)
class Side:
    """One of the two: a name to show, and either its responses or the file that holds them."""

    name: str
    judge: JudgeConfig
    """How it was scored; files are by a metric, where nothing else is said."""
    responses: Reference | None = None
    file: DownloadConfig | None = None


def side_of(text: str) -> Side:
    """What A or B is: a file of responses, or `RUN` or `RUN:MODEL` of a pipeline or of `touchstone judge`.

    Raises UsageError when there is no such file, run or model.
    """
    if Path(text).is_file() or "://" in text:
        name = text.rpartition("/")[2]
        source = DownloadConfig.model_validate({"sources": [source_from_text(text)]})
        return Side(name, JudgeConfig(), file=source)
    run_id, _, model = text.partition(":")
    if not (len(run_id) == 32 and run_id.isalnum()):
        raise UsageError(
            f"{text!r} is neither a file nor the id of an MLflow run; expected a file of responses, RUN or "
            "RUN:MODEL"
        )
    return _of_run(open_tracking(), run_id, model)


def _of_run(tracking: Tracking, run_id: str, model: str) -> Side:
    run = pipeline_run_of(tracking, run_id)
    made = {
        name.removeprefix(STAGE): value for name, value in run.data.tags.items() if name.startswith(STAGE)
    }
    models = {
        label.removeprefix(GENERATED): SCORED + label.removeprefix(GENERATED)
        for label in made
        if label.startswith(GENERATED)
    }
    if "responses" in made:
        models = {"": "judge"}
    if not models:
        raise UsageError(f"run {run_id} has no responses to compare: nothing was generated or judged in it")
    if model not in models:
        if model:
            there = ", ".join(filter(None, models)) or "one alone, without a name"
            raise UsageError(f"run {run_id} has no model {model!r}; there are {there}")
        model = next(name for name in ("preferred", "fine-tuned", "base", "") if name in models)
    scores = reference_of(tracking, made[models[model]])
    return Side(
        name=f"{run.info.run_name} {model}".strip(),
        judge=JudgeConfig.model_validate_json(read_aside(scores, "config.json")),
        responses=reference_of(tracking, made[GENERATED + model if model else "responses"]),
    )


@flow(
    name="touchstone-compare",
    flow_run_name="compare {name_a} with {name_b}",
    description="Two models' responses to the same rows: scored alike, and compared row by row",
    persist_result=False,
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
