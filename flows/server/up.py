"""`touchstone up`: servers of Prefect and MLflow, and a worker for each pool, on this machine."""

import contextlib
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled

from flows.process.console import console
from flows.process.interrupts import interrupts
from flows.process.intervals import intervals
from flows.server.access import USER, secret_path
from flows.server.deploy import create_pools
from flows.server.deployment_file import load_deployments
from flows.server.pools import cancel, live_workers
from flows.server.postgres import databases
from flows.server.reaper import reap
from flows.server.servers import (
    Place,
    Process,
    adopt_orphans,
    answers,
    end_orphans,
    is_free,
    logs_folder,
    mlflow_server,
    prefect_server,
    worker,
    worker_name,
)
from tasks.errors import StageError, UsageError
from tasks.machine.home import ADDRESSES, home
from tasks.machine.json_files import write_json
from tasks.record.run_lifecycle import reap_orphaned_runs
from tasks.record.tracking import open_tracking

STOPPING = 25.0  # seconds that running flows have to stop
DEATHS, WITHIN = 5, 120.0  # a process that dies so often in so many seconds is given up
ACTIVE = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


def up(place: Place, secret: str) -> None:
    """Start everything, wait until all of it answers, and keep it running until interrupted.

    Raises UsageError when a port is taken; StageError when something does not come up, or dies again and
    again. Nothing is left behind in any case.
    """
    root = home() / "mlruns"
    interrupts.grace = math.inf  # every process below has its own
    with contextlib.ExitStack() as everything:
        _require_ports(place)
        started = time.monotonic()
        file = load_deployments()
        adopt_orphans()
        everything.callback(end_orphans, ())
        processes = _servers(place, root, secret)
        for process in processes:
            _start(process, everything)
        console.say("waiting for the servers ...", style="dim")
        prefect, mlflow = processes
        prefect.wait_until(lambda: answers(f"{place.prefect}/api/health"))
        mlflow.wait_until(lambda: answers(f"{place.mlflow}/health"))
        os.environ |= {"PREFECT_API_URL": f"{place.prefect}/api", "MLFLOW_TRACKING_URI": place.mlflow}
        create_pools(file)
        everything.callback(_end_the_dead, place)  # once the workers are gone
        limits = {pool.name: pool.worker_limit for pool in file.definitions.pools if pool.type == "process"}
        for pool, limit in limits.items():
            processes.append(worker(pool, limit, logs_folder() / f"worker-{pool}.log"))
            _start(processes[-1], everything)
        everything.callback(_end_what_runs, place, limits)  # first of all, while the workers live
        _wait_for_workers(processes[2:], limits)
        _tell(place, limits, everything, root, time.monotonic() - started)
        _keep(processes)


def _require_ports(place: Place) -> None:
    for name, port in {"prefect": place.prefect_port, "mlflow": place.mlflow_port}.items():
        if not is_free(place.host, port):
            raise UsageError(
                f"port {port} of {place.host} is taken; take another: touchstone up --{name}-port {port + 1}"
            )


def _servers(place: Place, root: Path, secret: str) -> list[Process]:
    """The servers, their stores made ready: two processes that open a fresh one at once break it."""
    stores = databases(place.postgres) if place.postgres else None
    store = stores.mlflow if stores else f"sqlite:///{root / 'mlflow.db'}"
    open_tracking(root, store, served=place.shared)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow leaves there what was opened, passwords too
    logs = logs_folder()
    prefect_store = {"PREFECT_API_DATABASE_CONNECTION_URL": stores.prefect} if stores else {}
    return [
        prefect_server(place, logs / "prefect.log", secret, prefect_store),
        mlflow_server(place, logs / "mlflow.log", secret, store, root / "artifacts"),
    ]


def _start(process: Process, everything: contextlib.ExitStack) -> None:
    everything.callback(process.stop)
    process.start()


def _wait_for_workers(workers: list[Process], pools: Iterable[str]) -> None:
    with get_client(sync_client=True) as client:
        for process, pool in zip(workers, pools, strict=True):
            process.wait_until(lambda pool=pool: worker_name(pool) in live_workers(client, pool))


def _tell(
    place: Place, limits: Mapping[str, int], everything: contextlib.ExitStack, root: Path, seconds: float
) -> None:
    """Print the addresses, and leave them where other commands of this folder look."""
    path = root / "work" / ADDRESSES
    addresses = {"PREFECT_API_URL": f"{place.prefect}/api", "MLFLOW_TRACKING_URI": place.mlflow}
    everything.callback(path.unlink, missing_ok=True)
    write_json(path, addresses)
    console.say(f"up after {seconds:.0f} s", style="bold")
    console.say(f"  Prefect   {place.prefect}")
    console.say(f"  MLflow    {place.mlflow}")
    for pool, limit in limits.items():
        console.say(f"  {pool:<9} a worker, {limit} at once" if limit > 1 else f"  {pool:<9} a worker")
    console.say(f"  logs      {logs_folder()}")
    console.say(f"  sign in   Prefect asks for {USER}:SECRET, MLflow for the user {USER} and SECRET")
    console.say(f"            SECRET is in {secret_path()}")
    if place.shared:
        console.say(
            "what is sent is not encrypted: keep it inside your network, or behind a proxy with TLS", "yellow"
        )
    console.say("next: touchstone deploy; touchstone run quickstart --pools (Ctrl-C here stops everything)")


def _keep(processes: list[Process]) -> None:
    """Start again what dies, and end what it left behind, for ever."""
    deaths: dict[str, list[float]] = {process.name: [] for process in processes}
    reaped = time.monotonic()
    while True:
        for process in processes:
            if process.running:
                continue
            now = time.monotonic()
            deaths[process.name] = [*(when for when in deaths[process.name] if now - when < WITHIN), now]
            if len(deaths[process.name]) >= DEATHS:
                raise StageError(f"{process.name} died {DEATHS} times:\n{process.tail()}\n({process.log})")
            console.say(f"{process.name} died and is started again; see {process.log}", style="yellow")
            end_orphans(processes)  # what it had started: a flow goes on from its checkpoint
            process.start()
        if time.monotonic() - reaped > intervals().reap:
            _reap()
            reaped = time.monotonic()
        time.sleep(intervals().look)


def _reap() -> None:
    """One that fails because a server is being restarted is done the next time."""
    try:
        with get_client(sync_client=True) as client:
            if count := reap(open_tracking(), client):
                console.say(f"ended {count} runs of processes that are gone", style="yellow")
    except Exception as error:  # whatever it is, it must not take the servers down
        console.say(f"runs of dead processes could not be looked for: {error}", style="yellow")


def _end_what_runs(place: Place, pools: Collection[str]) -> None:
    """Cancel the flow runs of the pools, wait until their workers have stopped them, and end the rest."""
    if not answers(f"{place.prefect}/api/health"):
        return
    with get_client(sync_client=True) as client:
        if active := _active(client, pools):
            console.say(f"stopping {len(active)} flow runs ...", style="dim")
        for run in active:
            cancel(client, run.id, "touchstone up was stopped; run again to go on")
        deadline = time.monotonic() + STOPPING
        while _active(client, pools) and time.monotonic() < deadline:
            time.sleep(intervals().look)
        for run in _active(client, pools):
            client.set_flow_run_state(run.id, Cancelled(message="touchstone up was stopped"), force=True)
        if answers(f"{place.mlflow}/health"):
            reap(open_tracking(), client)


def _end_the_dead(place: Place) -> None:
    """End the MLflow runs that are left, also when Prefect was not there to be asked."""
    if answers(f"{place.mlflow}/health"):
        reap_orphaned_runs(open_tracking())


def _active(client: SyncPrefectClient, pools: Collection[str]) -> list[FlowRun]:
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(ACTIVE))))
    return [run for run in client.read_flow_runs(flow_run_filter=states) if run.work_pool_name in pools]
