"""A series: one pretraining after another, from the smallest size to the largest, and what that shows.

In MLflow the series has a run of its own, with those of the sizes below it. What was trained is found at the
next call, and one that was killed goes on from its checkpoint.
"""

import time
from collections.abc import Sequence
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact

from flows.dispatch.pipeline_run import PipelineRun, pipeline_run, without_heartbeat
from flows.dispatch.results import finished, outcome_of
from flows.dispatch.runs import SERIES, TRIALS, read_output, reference_of
from flows.pipeline import prepare
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.series.ladder import Ladder
from flows.server.pools import Pools
from flows.server.sweep import CRASH_HOOKS
from flows.sweeping.trials import trial
from tasks.config import SeriesConfig, SeriesRung
from tasks.data.token_files import read_facts
from tasks.errors import IncompleteError, StoppedError, TouchstoneError
from tasks.machine.json_files import Json
from tasks.record.outputs import AUXILIARY
from tasks.record.stage import MADE_BY
from tasks.record.tracking import set_tags
from tasks.record.work import Reference
from tasks.series.document import document
from tasks.series.ladder import rung_of
from tasks.series.outputs import Series
from tasks.show.markdown import as_markdown

BY = "bits_per_byte"


@flow(
    name="touchstone-series",
    flow_run_name="series {name}",
    description="A ladder of sizes, pretrained at equal tokens a parameter or equal FLOPs",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def series(name: str, ladder: Ladder, pools: Pools | None = None) -> State | dict[str, Any]:
    """Pretrain each size, and fit their losses.

    Returns what `touchstone series --json` prints, or a failed state when a size could not be trained.
    """
    profile = ladder.load().with_commits()
    settings = {"profile": profile, "sizes": ", ".join(ladder.sizes)}
    with pipeline_run(f"series {name}", settings, (), SERIES, pools, profile.reuse, profile=name) as run:
        vocab_size = read_output(run.tracking, prepare(run, profile).tokens, read_facts)["vocab_size"]
        configs = [ladder.load(f"pretrain.size={size}").pretrain for size in ladder.sizes]
        rungs = [rung_of(one, vocab_size, ladder.tokens_per_parameter, ladder.flops) for one in configs]
        rungs.sort(key=lambda one: one.parameters)
        ended = [_trained(run, ladder, one, place, len(rungs), pools) for place, one in enumerate(rungs)]
        return _conclude(run, ladder, ended)


def _trained(
    run: PipelineRun, ladder: Ladder, rung: SeriesRung, place: int, count: int, pools: Pools | None
) -> SeriesRung:
    told = f"{rung.parameters:,} parameters, {rung.tokens:,} tokens"
    console.say(f"size {rung.size} ({place + 1} of {count}): {told}", style="bold")
    started = time.monotonic()
    try:
        profile = ladder.rung(rung.size, rung.steps).with_commits()
        with without_heartbeat():
            state = trial(
                profile,
                "pretrain",
                BY,
                f"size {rung.size}",
                run.run_id,
                pools=pools,
                return_state=True,
            )
        outcome = outcome_of(state)
    except StoppedError:
        raise  # somebody stopped it; the same command continues it
    except TouchstoneError as error:
        console.say(f"size {rung.size} failed: {error}", style="red")
        seconds = round(time.monotonic() - started, 1)
        return rung.model_copy(update={"state": "failed", "seconds": seconds, "reason": str(error)})
    set_tags(run.tracking.client, run.run_id, {f"{TRIALS}{place}": outcome["run_id"]})
    return rung.model_copy(
        update={
            "loss": outcome["value"],
            "seconds": round(outcome["seconds"], 1),
            "run_id": outcome["run_id"],
        }
    )


def _conclude(run: PipelineRun, ladder: Ladder, ended: Sequence[SeriesRung]) -> Json:
    config = SeriesConfig(
        profile=ladder.load().name,
        tokens_per_parameter=ladder.tokens_per_parameter,
        flops=ladder.flops,
        rungs=tuple(ended),
    )
    made = run.stage("series", config, **_measured(run, ended))
    found = read_output(run.tracking, made, Series.read).as_json()
    create_markdown_artifact(
        as_markdown(document(found)), key=f"series-{config.profile}", description="Series"
    )
    failed = [f"{one.size}: {one.reason}" for one in ended if one.state == "failed"]
    error = IncompleteError(
        f"{len(failed)} of {len(ended)} sizes failed: {'; '.join(failed)}. The others are kept. Run again: "
        "what is done is found"
    )
    told = found | {"page": f"{made.uri}/{AUXILIARY}/series.html"}
    return finished(run, told, error if failed else None)


def _measured(run: PipelineRun, ended: Sequence[SeriesRung]) -> dict[str, Reference]:
    """What each size lost on every part of the validation text."""
    found = {}
    for place, one in enumerate(ended):
        if one.run_id:
            tags = run.tracking.client.get_run(one.run_id).data.tags
            found[f"rung_{place}"] = reference_of(run.tracking, tags[f"{MADE_BY}validate"])
    return found
