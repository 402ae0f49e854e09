"""Handing a run to its work pool and telling at this terminal how it goes."""

import time
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectException

from flows.process.console import console
from flows.process.interrupts import GRACE, interrupts
from flows.process.intervals import intervals
from flows.server.pools import RunLog, Watch, cancel_quietly, pool_of, retry_until_available, wait_for_worker

STOPPING = 30.0  # seconds that a cancelled run has to stop


def run_and_follow(deployment: str, parameters: dict[str, Any], name: str) -> State:
    """Run a deployment, print what its flow logs of its stages, and return its final state.

    One that is left, by an interruption or an error, is cancelled first. Raises StageError when the
    deployment, or a live worker of its pool, is not there.
    """
    interrupts.grace = STOPPING + GRACE
    with get_client(sync_client=True) as client:
        wait_for_worker(client, pool_of(client, deployment))
        run = run_deployment(deployment, parameters=parameters, flow_run_name=name, timeout=0)
        console.close()
        console.say(f"flow run {run.name}: {_page(client, run.id)}", style="dim")
        try:
            return _follow(client, run.id)
        except BaseException as error:
            console.say("stopping the flow run ...", style="dim")
            cancel_quietly(client, run.id, str(error) or "interrupted at the terminal that started it")
            _wait_until_stopped(client, run.id)
            raise


def _wait_until_stopped(client: SyncPrefectClient, run: UUID) -> None:
    deadline = time.monotonic() + STOPPING
    try:
        while not _ended(client, run) and time.monotonic() < deadline:
            time.sleep(intervals().poll)
    except (httpx.HTTPError, PrefectException) as error:
        console.say(f"Prefect does not say whether it has stopped: {error}", style="yellow")


def _page(client: SyncPrefectClient, run: UUID) -> str:
    return f"{str(client.api_url).rstrip('/').removesuffix('/api')}/runs/flow-run/{run}"


def _ended(client: SyncPrefectClient, run: UUID) -> State | None:
    state = client.read_flow_run(run).state
    return state if state is not None and state.is_final() else None


def _follow(client: SyncPrefectClient, run: UUID) -> State:
    log_lines, watch = RunLog(client, run), Watch(client)
    while True:
        found = retry_until_available(lambda: client.read_flow_run(run))
        state = found.state if found.state is not None and found.state.is_final() else None
        for message in log_lines.new():
            console.say(f"  {message}")
        if state is not None:
            return state
        watch.check(found)
        time.sleep(intervals().poll)
