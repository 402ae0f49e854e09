"""Bringing pools, deployments and automations to a Prefect server: what is there already stays.

Only the deployments of stages that this version does not have any more are deleted.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker
from pydantic.fields import FieldInfo

from flows.server.automations import automations, bring
from flows.server.deployment_file import REAP, DeploymentFile, DeploymentSpec, PoolSpec, load_deployments
from flows.server.pools import retry_until_available
from flows.server.servers import ENGINE, job_variables
from flows.stages import FLOWS, STAGE_TAGS
from tasks.errors import UsageError

Changes = dict[str, str]  # what was done, by what it was done to


def deploy(
    path: Path | None = None, activate: Collection[str] = (), deactivate: Collection[str] = ()
) -> Changes:
    """Bring a server to what the file says, and schedules to sleep or wake; says what was done.

    Doing it again changes nothing. Raises UsageError, before anything is changed, when the file is wrong or a
    schedule is not in it.
    """
    file = load_deployments(path)
    _require_schedules(file, [*activate, *deactivate])
    if REAP not in [spec.entrypoint for spec in file.deployments]:
        raise UsageError(f"there is no deployment of {REAP}, which an automation starts after a crash")
    awake = dict.fromkeys(activate, True) | dict.fromkeys(deactivate, False)
    with _asking_soon() as client:
        steps: dict[str, Callable[[], str]] = {
            f"work pool {pool.name}": partial(_pool, client, pool) for pool in file.definitions.pools
        }
        for spec in file.deployments:
            name = f"{spec.flow.name}/{spec.name}"
            steps[f"deployment {name}"] = partial(_deployment, client, name, spec, awake)
        # Each again while the server is busy: SQLite refuses a transaction that reads first when workers
        # have written meanwhile (503).
        done = {name: retry_until_available(step) for name, step in steps.items()}
        for name, number in retry_until_available(partial(_obsolete, client, file)).items():
            done[f"deployment {name}"] = retry_until_available(partial(_delete, client, number))
        for made in retry_until_available(partial(_automations, client, file)):
            done[f"automation {made.name}"] = retry_until_available(partial(bring, client, made))
    return done


def schedules_of(file: DeploymentFile) -> list[str]:
    return [schedule.slug for spec in file.deployments for schedule in spec.schedules]


def _require_schedules(file: DeploymentFile, asked: Collection[str]) -> None:
    there = schedules_of(file)
    if unknown := [name for name in asked if name not in there]:
        raise UsageError(f"there is no schedule {', '.join(unknown)}; there are {', '.join(there)}")


def create_pools(file: DeploymentFile) -> None:
    """The work pools alone, which workers need before there is a deployment."""
    with _asking_soon() as client:
        for pool in file.definitions.pools:
            retry_until_available(partial(_pool, client, pool))


@contextmanager
def _asking_soon() -> Iterator[SyncPrefectClient]:
    """Prefect's client without its own patience, of six questions that lie further and further apart.

    While workers write, all six may be refused: `retry_until_available` asks every few seconds.
    """
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        yield client


def _pool(client: SyncPrefectClient, spec: PoolSpec) -> str:
    """A pool that is there keeps its type and its job template, which belong to its machines."""
    try:
        found = client.read_work_pool(spec.name)
    except ObjectNotFound:
        template = _process_template() if spec.type == "process" else {}
        client.create_work_pool(
            WorkPoolCreate(
                name=spec.name,
                type=spec.type,
                description=spec.description,
                concurrency_limit=spec.concurrency_limit,
                base_job_template=template,
            )
        )
        return "created"
    if (found.description, found.concurrency_limit) == (spec.description, spec.concurrency_limit):
        return "unchanged"
    client.update_work_pool(
        spec.name, WorkPoolUpdate(description=spec.description, concurrency_limit=spec.concurrency_limit)
    )
    return "updated"


def _process_template() -> dict[str, Any]:
    """Prefect's, with the command spelt out: a worker then starts one process for a run instead of two."""
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["command"]["default"] = ENGINE
    return template


def _deployment(client: SyncPrefectClient, name: str, spec: DeploymentSpec, awake: dict[str, bool]) -> str:
    """One that is as it should be costs a single request."""
    try:
        before = client.read_deployment_by_name(name)
    except ObjectNotFound:
        before = None
    # Prefect deletes the schedules of a deployment that is created again, and with them which were active.
    slept = {schedule.slug: schedule.active for schedule in before.schedules} if before else {}
    schedules = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=schedule.cron, timezone=schedule.timezone),
            active=awake.get(schedule.slug, slept.get(schedule.slug, False)),
            parameters=schedule.parameters,
            slug=schedule.slug,
        )
        for schedule in spec.schedules
    ]
    wanted = {
        "description": spec.description or spec.flow.description,
        "tags": list(spec.tags),
        "parameters": spec.parameters,
        "parameter_openapi_schema": _form(spec.flow),
        "enforce_parameter_schema": True,
        "entrypoint": spec.entrypoint,
        "work_pool_name": spec.work_pool.name,
        "job_variables": job_variables(spec.work_pool.job_variables),
        "concurrency_options": _collisions(spec),
    }
    limit = spec.concurrency_limit.limit if spec.concurrency_limit else None
    if before and _is(before, wanted, limit, schedules):
        return "unchanged"
    flow = client.create_flow(spec.flow)
    client.create_deployment(  # or update: Prefect knows a deployment by its flow and name
        flow_id=flow, name=spec.name, concurrency_limit=limit, schedules=schedules, **wanted
    )
    return "updated" if before else "created"


def _obsolete(client: SyncPrefectClient, file: DeploymentFile) -> dict[str, UUID]:
    """The deployments of stages that an earlier version made, under other names or of stages that are gone.

    Nobody else makes such deployments; whatever else is on the server is not ours to delete.
    """
    wanted = {spec.name for spec in file.deployments}
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=list(STAGE_TAGS)))
    found = {}
    for each in client.read_deployments(deployment_filter=tagged):
        module, _, stage = (each.entrypoint or "").rpartition(".")
        if module == FLOWS and each.name not in wanted:
            found[f"{stage}/{each.name}"] = each.id
    return found


def _delete(client: SyncPrefectClient, deployment: UUID) -> str:
    client.delete_deployment(deployment)
    return "deleted"


def _is(
    before: DeploymentResponse,
    wanted: dict[str, Any],
    limit: int | None,
    schedules: list[DeploymentScheduleCreate],
) -> bool:
    """Whether a deployment is already as it is wanted."""
    found = before.global_concurrency_limit
    ours = sorted(map(_when, schedules), key=str)
    return (
        {name: getattr(before, name) for name in wanted} == wanted
        and (found.limit if found else None) == limit
        and sorted(map(_when, before.schedules), key=str) == ours
    )


def _when(schedule: Any) -> tuple[Any, ...]:
    """When a deployment runs, in a form that two of them can be compared by."""
    return schedule.slug, schedule.active, schedule.schedule.model_dump(), schedule.parameters


def _form(flow: Flow[..., Any]) -> dict[str, Any]:
    """The form of a flow's parameters, with the titles and help of its annotations, which Prefect drops."""
    form = parameter_schema(flow).model_dump_for_openapi()
    for name, annotation in get_type_hints(flow.fn, include_extras=True).items():
        for told in getattr(annotation, "__metadata__", ()):
            if isinstance(told, FieldInfo):
                form["properties"][name] |= {"title": told.title, "description": told.description}
    return form


def _collisions(spec: DeploymentSpec) -> ConcurrencyOptions | None:
    if spec.concurrency_limit is None:
        return None
    strategy = ConcurrencyLimitStrategy(spec.concurrency_limit.collision_strategy)
    return ConcurrencyOptions(collision_strategy=strategy)


def _automations(client: SyncPrefectClient, file: DeploymentFile) -> list[AutomationCore]:
    reaping = client.read_deployment_by_name("touchstone-reap/reap").id
    pools = [client.read_work_pool(pool.name) for pool in file.definitions.pools]
    return automations(reaping, [pool.id for pool in pools if pool.type == "process"])


def schedules_told() -> list[str]:
    """A line for each schedule of the file: when it runs, or that it sleeps."""
    lines = []
    with get_client(sync_client=True) as client:
        for spec in load_deployments().deployments:
            name = f"{spec.flow.name}/{spec.name}"
            there = client.read_deployment_by_name(name).schedules if spec.schedules else ()
            active = {schedule.slug: schedule.active for schedule in there}
            for schedule in spec.schedules:
                what = "runs" if active.get(schedule.slug) else "sleeps"
                lines.append(f"schedule {schedule.slug} {what}: {schedule.cron} {schedule.timezone}")
    return lines
