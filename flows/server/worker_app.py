"""Runs a worker: what `python -m flows.server.worker_app POOL NAME LIMIT` starts.

It is Prefect's process worker, but for one thing. A deployment may name any command, code of any place and
shell steps that fetch it; this worker starts what `deployments/prefect.yaml` of its own home says, and
nothing else, whatever a server tells.
"""

import asyncio
import os
import sys
from abc import ABC
from importlib import import_module
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import get_current_settings
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.compat import load_flows_by
from flows.profiles.yaml_settings import read_yaml
from flows.server.servers import ENGINE, job_variables
from flows.stages import with_stage_deployments
from tasks.errors import UsageError
from tasks.machine.home import DEPLOYMENTS, home

# What Prefect itself tells a run; anything else of that kind would be code to run instead.
TOLD = {
    f"PREFECT__{name}"
    for name in (
        "FLOW_RUN_ID",
        "WORKER_ID",
        "WORKER_NAME",
        "FLOW_ID",
        "FLOW_NAME",
        "DEPLOYMENT_ID",
        "DEPLOYMENT_NAME",
    )
}
ENTRYPOINT = "PREFECT__FLOW_ENTRYPOINT"  # by which a run loads its flow without asking the server what it is

Declared = dict[tuple[str, str], dict[str, Any]]  # job variables, by name and entrypoint


class RefusedError(Exception):
    """A flow run that is not one of this project's."""


class OurWorker(ProcessWorker, ABC):  # Prefect enters no ABC among its types, where there is one "process"
    """Runs the deployments of this home."""

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        """As Prefect's. Raises RefusedError, which Prefect makes a crash of, for a run that is not ours."""
        if flow_run.deployment_id is None:
            raise RefusedError("it belongs to no deployment")
        deployment = await self.client.read_deployment(flow_run.deployment_id)
        if foreign := foreign_in(deployment, flow_run, configuration, declared()):
            raise RefusedError(
                f"{foreign}. This worker runs what {DEPLOYMENTS} of {home()} says, and nothing else: "
                "touchstone deploy brings it to the server, with pools where there are none of that name"
            )
        entrypoint = str(deployment.entrypoint)
        configuration.env[ENTRYPOINT] = entrypoint
        _checked[flow_run.id] = entrypoint
        try:
            return await super().run(flow_run, configuration, task_status)
        finally:
            del _checked[flow_run.id]


_checked: dict[UUID, str] = {}  # the entrypoints of the flow runs that are running


async def _load_checked(flow_run: FlowRun) -> Flow[..., Any]:
    """The flow that was checked, for its hooks: Prefect would ask the server anew, and run its steps."""
    module, _, name = _checked[flow_run.id].rpartition(".")
    return getattr(import_module(module), name)


load_flows_by(_load_checked)


def declared() -> Declared:
    """The deployments of this home, read at every run: a person may have changed them."""
    return {
        (spec["name"], spec["entrypoint"]): job_variables(spec["work_pool"].get("job_variables", {}))
        for spec in with_stage_deployments(read_yaml(home() / DEPLOYMENTS))["deployments"]
    }


def foreign_in(
    deployment: DeploymentResponse, run: FlowRun, configuration: ProcessJobConfiguration, ours: Declared
) -> str | None:
    """What of a flow run is not this project's; None when all of it is."""
    variables = ours.get((deployment.name, str(deployment.entrypoint)))
    if variables is None:
        return f"there is no deployment {deployment.name} of {deployment.entrypoint}"
    if deployment.pull_steps:
        return "its deployment has steps that fetch code"
    if deployment.path:
        return f"its deployment takes code from {deployment.path}"
    if deployment.job_variables != variables or run.job_variables:
        return "it sets other job variables"
    if configuration.command != ENGINE or configuration.working_dir:
        return "its work pool sets another command or folder"
    # Prefect may spell a value of the environment in its own way.
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    known = settings.items() | os.environ.items() | variables["env"].items()
    told = {(name, value) for name, value in configuration.env.items() if name not in TOLD}
    return "its work pool sets other variables" if told - known else None


async def work(pool: str, name: str, limit: int) -> None:
    """Run what a pool has, up to `limit` flows at once, until SIGTERM."""
    settings = get_current_settings().worker
    worker = OurWorker(
        work_pool_name=pool,
        name=name,
        limit=limit,
        prefetch_seconds=settings.prefetch_seconds,
        heartbeat_interval_seconds=int(settings.heartbeat_seconds),
        create_pool_if_not_found=False,
    )
    setup_signal_handlers_worker(os.getpid(), f"the worker of {pool}", print)
    await worker.start(printer=print)


def main() -> None:
    """Raises UsageError for other arguments than POOL NAME LIMIT."""
    try:
        pool, name, limit = sys.argv[1:]
    except ValueError:
        raise UsageError("POOL NAME LIMIT") from None
    asyncio.run(work(pool, name, int(limit)))


if __name__ == "__main__":
    main()
