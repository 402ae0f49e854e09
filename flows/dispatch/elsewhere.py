"""Runs of a deployment that a flow has beside its own work, where the pool has room for them."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from flows.process.console import console
from flows.process.flow_body import failed
from flows.process.intervals import intervals
from flows.server.pools import TAG, RunLog, Watch, cancel, cancel_quietly, live_workers, retry_until_available
from tasks.errors import StageError, StoppedError

log = logging.getLogger(__name__)

LEFT = "the run of all seeds was interrupted, was cancelled, or failed"
TAKEN_BACK = "no worker had begun it: it runs in the process that asked for it"


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
        self._children: dict[int, FlowRun] = {}
        self._not_begun: list[int] = []
        self._has_workers = self._look()

    def close(self) -> None:
        for child in self._children.values():
            cancel_quietly(self._client, child.id, LEFT)

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
        _tell(f"there is {what} to run seeds side by side: they run here, one after another")
        return False

    def start(self, number: int, parameters: dict[str, Any], name: str) -> None:
        """Ask for a run; it is begun when a worker has room."""
        self._not_begun.append(number)
        if not self._has_workers:
            return
        once = uuid4().hex
        self._children[number] = retry_until_available(
            lambda: run_deployment(
                self._deployment,
                parameters=parameters,
                flow_run_name=name,
                timeout=0,
                as_subflow=True,
                tags=[TAG, "pipeline"],
                idempotency_key=once,
            )
        )

    def take_back(self) -> int | None:
        """One that no worker has begun, which is cancelled; None when all are begun.

        It is the last of them, since workers begin with the first.
        """
        while self._not_begun:
            number = self._not_begun.pop(-1 if self._has_workers else 0)
            child = self._children.get(number)
            if child is None:
                return number
            state = retry_until_available(lambda child=child: self._client.read_flow_run(child.id)).state
            if state is not None and state.is_scheduled():
                del self._children[number]
                retry_until_available(lambda child=child: cancel(self._client, child.id, TAKEN_BACK))
                return number
        return None

    def ends(self) -> Iterator[tuple[int, State | None]]:
        """The final states of those that were begun, as they end; None for one whose process is gone."""
        logs = {number: RunLog(self._client, child.id) for number, child in self._children.items()}
        watches = {number: Watch(self._client) for number in self._children}
        while self._children:
            for number in list(self._children):
                child = self._children[number]
                found = retry_until_available(lambda child=child: self._client.read_flow_run(child.id))
                for line in logs[number].new():
                    _tell(f"seed {number}: {line}")
                if found.state is not None and found.state.is_final():
                    del self._children[number]
                    yield number, None if found.state.is_crashed() else found.state
                    continue
                try:
                    watches[number].check(found)
                except StoppedError as error:
                    del self._children[number]
                    yield number, failed(error)
                except StageError as error:  # its process is dead, or no worker is left to begin it
                    _tell(f"seed {number}: {error}")
                    del self._children[number]
                    cancel_quietly(self._client, child.id, str(error))
                    yield number, None
            time.sleep(intervals().poll)


def _tell(line: str) -> None:
    console.say(f"  {line}")
    log.info("%s", line)
