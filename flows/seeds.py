"""Several trainings of one recipe: what they share once, then each as a pipeline run of its own.

In MLflow the run of all of them has the shared stages as its children, and the run of each, whose stages are
below that. A training that fails does not lose the others; what is done is found at the next call, and one
that was killed goes on from its checkpoint.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect import Flow, State

from flows.conclusion import show_report
from flows.dispatch.elsewhere import Job
from flows.dispatch.overview import score_metric
from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished, outcome_of
from flows.dispatch.runs import SEED, SEEDS, read_output, reference_of
from flows.dispatch.side_by_side import run_here, side_by_side
from flows.process.console import console
from flows.profiles.profile import Profile
from flows.profiles.seeds import SHARED, SeedOf, Training
from flows.server.pools import Pools
from tasks.benchmark.outputs import BITS, MEASURES
from tasks.config import SeedRun, SeedsConfig
from tasks.errors import IncompleteError, RefusedError, TouchstoneError
from tasks.machine.json_files import Json
from tasks.models import CLASSIFIER, MODELS
from tasks.record.tracking import set_tags
from tasks.record.work import Reference
from tasks.registry.lineage import DATASET
from tasks.report.outputs import page_address
from tasks.seeds.outputs import Spread

SCORED = ("base", *(f"{model}_{kind}" for model in MODELS for kind in ("scores", "benchmark")), CLASSIFIER)
"""What the report of a training was made from that the seeds are compared by."""


def run_seeds(
    pipeline: Flow[..., Any],
    share: Callable[[PipelineRun, Profile], object],
    profile: Profile,
    trainings: Sequence[Training],
    refresh: Sequence[str],
    pools: Pools | None,
) -> Json:
    """Do what `share` does of a profile, run `pipeline` for each training, and tell what they come to.

    Raises IncompleteError when a training failed, RefusedError when those that ended were refused; what came
    of them is kept for both.
    """
    with pipeline_run(profile.name, profile, refresh, SEEDS, pools, profile.reuse) as run:
        share(run, profile)
        again = [stage for stage in refresh if stage not in SHARED]
        ended = _Trainings(pipeline, run, trainings, again, pools).run()
        return _conclude(run, profile, trainings, ended)


class _Trainings:
    """Runs each training: here one after another, on the work pools side by side with that."""

    def __init__(
        self,
        pipeline: Flow[..., Any],
        run: PipelineRun,
        trainings: Sequence[Training],
        refresh: Sequence[str],
        pools: Pools | None,
    ) -> None:
        self._pipeline = pipeline
        self._group = run.run_id
        self._trainings = {training.number: training for training in trainings}
        self._refresh = refresh
        self._pools = pools
        self._ended: dict[int, Json | TouchstoneError] = {}

    def run(self) -> dict[int, Json | TouchstoneError]:
        """What each training told at its end, or the error that it ended with, by number."""
        side_by_side(
            map(self._job, self._trainings.values()),
            partial(run_here, self._pipeline),
            self._keep,
            "touchstone/pipeline" if self._pools else None,
        )
        return self._ended

    def _job(self, training: Training) -> Job:
        label = f"seed {training.number}"
        parameters = {
            "profile": training.profile.model_dump(mode="json"),
            "refresh": list(self._refresh),
            "pools": self._pools.model_dump() if self._pools else None,
            "seed": SeedOf(group=self._group, number=training.number).model_dump(),
        }
        title = f"{training} of {len(self._trainings)}"
        return Job(training.number, label, title, f"{training.profile.name} {label}", parameters)

    def _keep(self, job: Job, state: State) -> None:
        try:
            self._ended[job.number] = outcome_of(state)
        except TouchstoneError as error:
            self._ended[job.number] = error
            console.say(f"{job.title} failed: {error}", style="red")


def _conclude(
    run: PipelineRun,
    profile: Profile,
    trainings: Sequence[Training],
    ended: dict[int, Json | TouchstoneError],
) -> Json:
    """The card of those that came to their end, and what is told of all."""
    told: Json = {"profile": profile.name, "seeds": [_told(one, ended[one.number]) for one in trainings]}
    done = {number: outcome for number, outcome in ended.items() if isinstance(outcome, dict)}
    if not done:
        return finished(run, told | _nothing(), _error(trainings, ended))
    runs = {f"{SEED}{number}": outcome["run_id"] for number, outcome in done.items()}
    set_tags(run.tracking.client, run.run_id, runs)
    made = {number: _report_inputs(run, done[number]) for number in sorted(done)}
    config = SeedsConfig(runs=tuple(_seed_run(one, ended[one.number]) for one in trainings))
    scored = {
        f"seed_{number}_{name}": inputs[name]
        for number, inputs in made.items()
        for name in SCORED
        if name in inputs
    }
    spread = run.stage("seeds", config, **scored)
    first = min(made)
    report = run.stage("report", profile.report, **made[first], seeds=spread)
    found = read_output(run.tracking, spread, Spread.read)
    _log_metrics(run, found)
    show_report(run, profile.name, report)
    told |= {
        "headline": found.headline,
        "scores": found.scores,
        "differences": found.differences,
        "losses": found.losses,
        "model": done[first]["model"] if first == trainings[0].number else None,
        "report": page_address(report),
    }
    return finished(run, told, _error(trainings, ended))


def _nothing() -> Json:
    return {"headline": None, "scores": [], "differences": [], "losses": [], "model": None, "report": None}


def _told(training: Training, outcome: Json | TouchstoneError) -> Json:
    own: Json = {"number": training.number, "seeds": training.seeds}
    if isinstance(outcome, TouchstoneError):
        status = "refused" if isinstance(outcome, RefusedError) else "failed"
        return own | {"status": status, "error": str(outcome)}
    return own | outcome


def _seed_run(training: Training, outcome: Json | TouchstoneError) -> SeedRun:
    error = str(outcome) if isinstance(outcome, TouchstoneError) else None
    return SeedRun(number=training.number, seeds=training.seeds, error=error)


def _error(trainings: Sequence[Training], ended: dict[int, Json | TouchstoneError]) -> TouchstoneError | None:
    """Why the whole is not done: a training that failed, before one whose scores are refused."""
    of = len(trainings)
    failed = [(one, error) for one in trainings if isinstance(error := ended[one.number], TouchstoneError)]
    if failed:
        told = "; ".join(f"{one} of {of} failed: {error}" for one, error in failed)
        kept = f"The other {of - len(failed)} are done and kept. " if len(failed) < of else ""
        refused = len(failed) == of and all(isinstance(error, RefusedError) for _, error in failed)
        kind = RefusedError if refused else IncompleteError
        return kind(f"{told}. {kept}Run again: what is done is found, and what is not goes on")
    refusals = {one["error"] for one in ended.values() if isinstance(one, dict) and "error" in one}
    return RefusedError("; ".join(sorted(refusals))) if refusals else None


def _report_inputs(run: PipelineRun, outcome: Json) -> dict[str, Reference]:
    """What the report of a training was made from, by the names that its inputs have."""
    by_digest = {stage["digest"]: stage["run_id"] for stage in outcome["stages"]}
    report = next(stage for stage in outcome["stages"] if stage["name"] == "report")
    tags = run.tracking.client.get_run(report["run_id"]).data.tags
    return {
        tag.removeprefix(DATASET).rpartition(".")[0]: reference_of(run.tracking, by_digest[digest])
        for tag, digest in tags.items()
        if tag.startswith(DATASET)
    }


def _log_metrics(run: PipelineRun, found: Spread) -> None:
    """The mean over seeds and the spread between them, on the run of all."""
    numbers = {(entry["model"], entry["scorer"]): entry for entry in found.scores}
    numbers |= {
        (one["model"], f"{task['name']}_{measure}"): task[measure]
        for one in (found.benchmarks["models"] if found.benchmarks else ())
        for task in one["tasks"]
        for measure in (*MEASURES, BITS)
        if measure in task
    }
    for (model, scorer), entry in numbers.items():
        for number in ("mean", "low", "high", "sd"):
            if entry[number] is not None:
                name = score_metric(model, scorer, number)
                run.tracking.client.log_metric(run.run_id, name, entry[number])
