"""The search of a sweep: which trials are made, here one after another or side by side on the work pools."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

from prefect import State

from flows.dispatch.elsewhere import Job
from flows.dispatch.pipeline_run import PipelineRun
from flows.dispatch.results import outcome_of
from flows.dispatch.runs import TRIALS
from flows.dispatch.side_by_side import run_here, side_by_side
from flows.dispatch.stage_flows import watching
from flows.process.console import console
from flows.server.pools import Pools
from flows.sweeping.space import ProfileSource
from flows.sweeping.study import Study, StudyDefinition, Trial
from flows.sweeping.trials import DEPLOYMENT, trial, trial_parameters
from tasks.config import SweepTrial
from tasks.errors import StoppedError, TouchstoneError
from tasks.record.tracking import set_tags
from tasks.sweep.stage import distinct


@dataclass(frozen=True)
class SweepRun:
    """What is swept, and how many trials there are to be.

    No parameter of the flow, which Prefect keeps: the study's storage may have an address with a password.
    """

    source: ProfileSource
    definition: StudyDefinition
    study: Study
    count: int


class Search:
    """Makes the trials that a sweep lacks; one that fails does not lose the others."""

    def __init__(self, run: PipelineRun, swept: SweepRun, pools: Pools | None) -> None:
        self._run = run
        self._sweep = swept
        self._pools = pools
        self._ended: list[SweepTrial] = []
        self._asked: dict[int, tuple[Trial, float]] = {}
        """Trials that were asked for and have not ended, each with when it was."""

    def run(self) -> list[SweepTrial]:
        """All trials, in the order in which they were asked for."""
        self._ended = self._sweep.study.trials()
        self._link(self._ended)
        if self._ended:
            done = min(len(self._ended), self._sweep.count)
            console.say(f"{done} of {self._sweep.count} trials are done already", style="dim")
        side_by_side(
            self._jobs(),
            self._run_here,
            self._keep,
            DEPLOYMENT if self._pools else None,
            self._sweep.study.at_once,
        )
        return sorted(self._ended, key=lambda one: one.number)[: self._sweep.count]

    def _jobs(self) -> Iterator[Job]:
        """The trials to be made, each asked for when there is a place for it; what is known is not made."""
        while (number := len(self._ended) + len(self._asked)) < self._sweep.count:
            asked = self._sweep.study.ask()
            self._asked[asked.number] = asked, time.monotonic()
            told = ", ".join(f"{name}={value}" for name, value in asked.settings.items())
            title = f"trial {asked.number} ({number + 1} of {self._sweep.count}): {told}"
            if known := self._repeated(asked):
                console.say(f"{title}, as trial {known.repeats}", style="dim")
                self._tell(asked, known)
            elif job := self._job(asked, title):
                yield job

    def _job(self, asked: Trial, title: str) -> Job | None:
        """None of settings that no profile takes, which is told as a trial that failed."""
        try:
            profile = self._sweep.source.load(asked.settings).with_commits()
        except TouchstoneError as error:
            console.say(title, style="bold")
            self._tell(asked, self._without_value(asked, "failed", str(error)))
            return None
        label, objective = f"trial {asked.number}", self._sweep.definition.objective
        parameters = trial_parameters(
            profile, objective.stage, objective.by, label, self._run.run_id, self._pools
        )
        return Job(asked.number, label, title, f"{profile.name} {label}", parameters)

    def _repeated(self, asked: Trial) -> SweepTrial | None:
        """A sampler may draw settings twice: the trial has the value that is known."""
        same = next((one for one in distinct(self._ended) if one.settings == asked.settings), None)
        return same and same.model_copy(update={"number": asked.number, "repeats": same.number})

    def _run_here(self, job: Job) -> State:
        """While a trial is made, its validation curve is looked at, where trials are to be pruned."""
        asked, _ = self._asked[job.number]
        with self._watching(asked):
            return run_here(trial, job)

    def _watching(self, asked: Trial) -> AbstractContextManager[None]:
        objective = self._sweep.definition.objective
        if not self._sweep.definition.prune:
            return nullcontext()
        return watching(objective.stage, partial(asked.watch, objective.measure.curve))

    def _keep(self, job: Job, state: State) -> None:
        """Raises StoppedError of a trial that somebody stopped: the same command continues it."""
        asked, _ = self._asked[job.number]
        self._tell(asked, self._repeated(asked) or self._made(asked, state))

    def _made(self, asked: Trial, state: State) -> SweepTrial:
        try:
            outcome = outcome_of(state)
        except StoppedError:
            if not asked.pruned:
                raise
            return self._without_value(asked, "pruned", asked.pruned)
        except TouchstoneError as error:
            return self._without_value(asked, "failed", str(error))
        stages = outcome["stages"]
        return SweepTrial(
            number=asked.number,
            settings=asked.settings,
            state="done",
            value=outcome["value"],
            seconds=round(outcome["seconds"], 1),
            stages=len(stages),
            cached=sum(one["cached"] for one in stages),
            run_id=outcome["run_id"],
        )

    def _without_value(self, asked: Trial, state: Literal["pruned", "failed"], reason: str) -> SweepTrial:
        console.say(f"trial {asked.number} {state}: {reason}", style="yellow")
        _, since = self._asked[asked.number]
        seconds = round(time.monotonic() - since, 1)
        return SweepTrial(
            number=asked.number, settings=asked.settings, state=state, seconds=seconds, reason=reason
        )

    def _tell(self, asked: Trial, ended: SweepTrial) -> None:
        asked.tell(ended)
        del self._asked[asked.number]
        self._link([ended])
        self._ended.append(ended)

    def _link(self, ended: Sequence[SweepTrial]) -> None:
        """Name the trials' runs on the sweep's, also those of an earlier call."""
        tags = {f"{TRIALS}{one.number}": one.run_id for one in ended if one.run_id}
        if tags:
            set_tags(self._run.tracking.client, self._run.run_id, tags)
