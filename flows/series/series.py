"""A series: pretrainings from the smallest size to the largest, and what they show.

In MLflow the series has a run of its own, with those of the sizes below it. What was trained is found at the
next call, and one that was killed goes on from its checkpoint.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact

from flows.dispatch.elsewhere import Job
from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished, outcome_of
from flows.dispatch.runs import SERIES, TRIALS, read_output, reference_of
from flows.dispatch.side_by_side import run_here, side_by_side
from flows.pipeline import prepare
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.series.ladder import Ladder
from flows.server.pools import Pools
from flows.server.reaper import CRASH_HOOKS
from flows.sweeping.trials import DEPLOYMENT, trial, trial_parameters
from tasks.config import SeriesConfig, SeriesRung
from tasks.data.token_files import read_facts
from tasks.download.commits import asked_once
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
@asked_once()
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
        return _conclude(run, ladder, _Sizes(run, ladder, rungs, pools).run())


class _Sizes:
    """Trains each size: here one after another, on the work pools side by side; one may fail alone."""

    def __init__(
        self, run: PipelineRun, ladder: Ladder, rungs: Sequence[SeriesRung], pools: Pools | None
    ) -> None:
        self._run = run
        self._ladder = ladder
        self._rungs = list(rungs)
        self._pools = pools
        self._began: dict[int, float] = {}

    def run(self) -> list[SeriesRung]:
        """Each size with its loss, or why it has none."""
        side_by_side(self._jobs(), partial(run_here, trial), self._keep, DEPLOYMENT if self._pools else None)
        return self._rungs

    def _jobs(self) -> Iterator[Job]:
        for place, rung in enumerate(self._rungs):
            self._began[place] = time.monotonic()
            label = f"size {rung.size}"
            told = f"{rung.parameters:,} parameters, {rung.tokens:,} tokens"
            title = f"{label} ({place + 1} of {len(self._rungs)}): {told}"
            try:
                profile = self._ladder.rung(rung.size, rung.steps).with_commits()
            except TouchstoneError as error:
                console.say(title, style="bold")
                self._fail(place, error)
                continue
            parameters = trial_parameters(profile, "pretrain", BY, label, self._run.run_id, self._pools)
            yield Job(place, label, title, f"{profile.name} {label}", parameters)

    def _keep(self, job: Job, state: State) -> None:
        try:
            outcome = outcome_of(state)
        except StoppedError:
            raise  # somebody stopped it; the same command continues it
        except TouchstoneError as error:
            self._fail(job.number, error)
            return
        run_id = outcome["run_id"]
        set_tags(self._run.tracking.client, self._run.run_id, {f"{TRIALS}{job.number}": run_id})
        self._end(job.number, loss=outcome["value"], seconds=round(outcome["seconds"], 1), run_id=run_id)

    def _fail(self, place: int, error: TouchstoneError) -> None:
        console.say(f"size {self._rungs[place].size} failed: {error}", style="red")
        seconds = round(time.monotonic() - self._began[place], 1)
        self._end(place, state="failed", seconds=seconds, reason=str(error))

    def _end(self, place: int, **found: Any) -> None:
        self._rungs[place] = self._rungs[place].model_copy(update=found)


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
