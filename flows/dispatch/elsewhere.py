"""Runs of a deployment that a flow has beside its own work, where the pool has room for them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from flows.process.console import console
from flows.process.flow_body import failed
from flows.server.pools import TAG, RunLog, Watch, cancel, cancel_quietly, live_workers, retry_until_available
from tasks.errors import StageError, StoppedError
from tasks.machine.json_files import Json

log = logging.getLogger(__name__)

LEFT = "the run that asked for it was interrupted, was cancelled, or failed"
TAKEN_BACK = "no worker had begun it: it runs in the process that asked for it"


@dataclass(frozen=True)
class Job:
    """One of several runs of a flow."""

    number: int
    label: str
    """Before what it logs: `seed 2`."""
    title: str
    """What is told when it begins."""
    name: str
    """Of its flow run."""
    parameters: Json


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    job: Job
    state: State | None
    """None where its process died, or never was."""


@contextmanager
def elsewhere(deployment: str) -> Iterator["Elsewhere"]:
    """Runs of a deployment beside what the body does; those that have not ended with it are cancelled."""
    with get_client(sync_client=True) as client:
        runs = Elsewhere(client, deployment)
        try:
            yield runs
        finally:
            runs.close()


class Elsewhere:
    """Children of the present flow run on the pool of a deployment. Where there is no live worker, none.

    A child that no worker has begun can be taken back, so that a pool without room is never waited for: the
    flow that asks may itself be what takes the last place of it.
    """

    def __init__(self, client: SyncPrefectClient, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._children: dict[int, _Child] = {}
        self._has_workers = self._look()

    def close(self) -> None:
        for child in self._children.values():
            cancel_quietly(self._client, child.run.id, LEFT)

    @property
    def jobs(self) -> list[Job]:
        """Those that were started and have not been seen to end."""
        return [child.job for child in self._children.values()]

    def has_room(self, at_once: int | None) -> bool:
        """Whether one more may be started, where `at_once` run in all, one of them in this process."""
        return self._has_workers and (at_once is None or len(self._children) < at_once - 1)

    def _look(self) -> bool:
        try:
            pool = retry_until_available(
                lambda: self._client.read_deployment_by_name(self._deployment)
            ).work_pool_name
        except ObjectNotFound:
            pool = None
        if pool and live_workers(self._client, pool):
            return True
        what = f"no live worker on the work pool {pool}" if pool else f"no deployment {self._deployment}"
        _tell(f"there is {what} to run several side by side: they run here, one after another")
        return False

    def start(self, job: Job) -> None:
        """Ask for a run; it is begun when a worker has room."""
        once = uuid4().hex  # asked for again, it is still the same run
        run = retry_until_available(
            lambda: run_deployment(
                self._deployment,
                parameters=job.parameters,
                flow_run_name=job.name,
                timeout=0,
                as_subflow=True,
                tags=[TAG],
                idempotency_key=once,
            )
        )
        _tell(f"{job.title}, on a work pool")
        self._children[job.number] = _Child(job, run, RunLog(self._client, run.id), Watch(self._client))

    def take_back(self) -> Job | None:
        """One that no worker has begun, which is cancelled; None when all are begun.

        It is the last of them, since workers begin with the first.
        """
        for number, child in reversed(list(self._children.items())):
            if child.was_begun:
                continue
            state = self._read(child).state
            if state is not None and state.is_scheduled():
                del self._children[number]
                retry_until_available(lambda child=child: cancel(self._client, child.run.id, TAKEN_BACK))
                return child.job
            child.was_begun = True
        return None

    def ended(self) -> list["Ended"]:
        """Those that have ended since the last look; what the others have logged since is told."""
        found = [end for child in self._children.values() if (end := self._end(child))]
        for end in found:
            del self._children[end.job.number]
        return found

    def _end(self, child: "_Child") -> "Ended | None":
        found = self._read(child)
        for line in child.log.new():
            _tell(f"{child.job.label}: {line}")
        if found.state is not None and found.state.is_final():
            return Ended(child.job, None if found.state.is_crashed() else found.state)
        try:
            child.watch.check(found)
        except StoppedError as error:
            return Ended(child.job, failed(error))
        except StageError as error:  # its process is dead, or no worker is left to begin it
            _tell(f"{child.job.label}: {error}")
            cancel_quietly(self._client, child.run.id, str(error))
            return Ended(child.job, None)
        return None

    def _read(self, child: "_Child") -> FlowRun:
        return retry_until_available(lambda: self._client.read_flow_run(child.run.id))


@dataclass
class _Child:
    job: Job
    run: FlowRun
    log: RunLog
    watch: Watch
    was_begun: bool = False


def _tell(line: str) -> None:
    console.say(f"  {line}")
    log.info("%s", line)
