"""Several runs of one flow: here one after another, on the work pools side by side with that."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from prefect import Flow, State

from flows.dispatch.elsewhere import Job, elsewhere
from flows.dispatch.pipeline_run import without_heartbeat
from flows.process.console import console
from flows.process.intervals import intervals


def side_by_side(
    jobs: Iterator[Job],
    run_here: Callable[[Job], State],
    keep: Callable[[Job, State], None],
    deployment: str | None,
    at_once: int | None = None,
) -> None:
    """Run every job, and hand its final state to `keep`, in the order in which they end.

    The first runs in this process, and others beside it where `deployment` is named and a worker of its pool
    lives: `at_once` in all, or with None as many as there are. Whatever no worker has begun when this process
    has nothing left to do is taken back and runs here too, as does one whose process died elsewhere: a pool
    without room holds nothing up.

    A job is asked for when there is a place for it, so that it may follow from what was kept before.
    """
    if deployment is None:
        for job in jobs:
            keep(job, _shown(run_here, job))
        return
    with elsewhere(deployment) as beside:
        own = next(jobs, None)
        while own or beside.jobs:
            while beside.has_room(at_once) and (other := next(jobs, None)):
                beside.start(other)
            if own:
                keep(own, _shown(run_here, own))
            else:
                time.sleep(intervals().poll)
            for end in beside.ended():
                keep(end.job, end.state or _shown(run_here, end.job))
            own = next(jobs, None) or beside.take_back()


def run_here(flow: Flow[..., Any], job: Job) -> State:
    """The final state of a job's flow, run in this process."""
    with without_heartbeat():
        return flow(**job.parameters, return_state=True)


def _shown(run_here: Callable[[Job], State], job: Job) -> State:
    console.say(job.title, style="bold")
    return run_here(job)
