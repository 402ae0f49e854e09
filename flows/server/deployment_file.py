"""deployments/prefect.yaml, checked strictly: Prefect itself lets misspelt keys and parameters pass."""

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from flows.profiles.load import load_profile
from flows.profiles.yaml_settings import read_yaml
from flows.server.pools import TAG
from flows.stages import with_stage_deployments
from tasks.errors import UsageError
from tasks.machine.home import DEPLOYMENTS, home

REAP = "flows.server.reaper.reaping"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Strict(BaseModel):
    """A part of the file: a key that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PoolSpec(Strict):
    """A work pool."""

    name: Name
    type: Literal["process", "docker", "kubernetes"]
    description: str
    concurrency_limit: Annotated[int | None, Field(ge=1)] = None
    worker_limit: Annotated[int, Field(ge=1)] = 1
    """Flows that one worker runs at once, unless it is told another number."""


class WorkPoolSpec(Strict):
    """Where a deployment's runs go."""

    name: Name
    job_variables: dict[str, Any] = {}

    @field_validator("job_variables")
    @classmethod
    def _environment_is_text(cls, value: dict[str, Any]) -> dict[str, Any]:
        TypeAdapter(dict[str, str]).validate_python(value.get("env", {}), strict=True)
        return value


class StagePools(Strict):
    """Where the stages' own deployments go."""

    cpu: WorkPoolSpec
    gpu: WorkPoolSpec


class Definitions(Strict):
    """What is not Prefect's own."""

    pools: Annotated[
        tuple[PoolSpec, ...], Field(description="a list of work pools, each with its name, type, description")
    ]
    stage_pools: Annotated[
        StagePools,
        Field(
            description="the pools that the stages' own deployments go to, as {cpu: {name: cpu-pool}, gpu: "
            "{name: gpu-pool}}"
        ),
    ]


class ScheduleSpec(Strict):
    """When a deployment runs, once it is asked for."""

    slug: Name
    cron: str
    timezone: str
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {self.timezone!r}; one is Europe/Paris") from error
        CronSchedule(cron=self.cron, timezone=self.timezone)
        return self


class LimitSpec(Strict):
    """How many runs of a deployment there are at once, and what becomes of one more."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"]


class DeploymentSpec(Strict):
    """A flow with its pool, parameters and schedules."""

    name: Name
    entrypoint: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)+$", description="module.flow")]
    description: str | None = None
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    work_pool: WorkPoolSpec
    concurrency_limit: LimitSpec | None = None
    schedules: tuple[ScheduleSpec, ...] = ()

    @property
    def flow(self) -> Flow[..., Any]:
        """The flow behind the entrypoint. Raises ValueError when there is none."""
        module, _, name = self.entrypoint.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"entrypoint {self.entrypoint}: {error}") from error
        if not isinstance(found, Flow):
            raise ValueError(f"entrypoint {self.entrypoint} is no flow but {type(found).__name__}")
        return found

    @model_validator(mode="after")
    def _parameters_are_those_of_the_flow(self) -> Self:
        _check_parameters(self.flow, self.parameters)
        for schedule in self.schedules:
            given = self.parameters | schedule.parameters
            _check_parameters(self.flow, given)
            asked = signature(self.flow.fn).parameters.values()
            if missing := [
                each.name for each in asked if each.default is each.empty and each.name not in given
            ]:
                raise ValueError(
                    f"schedule {schedule.slug}: the flow {self.flow.name} needs {', '.join(missing)}, and "
                    "nobody is there to be asked"
                )
        return self


class DeploymentFile(Strict):
    """The whole file."""

    name: Name
    definitions: Definitions
    deployments: Annotated[tuple[DeploymentSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        pools = [pool.name for pool in self.definitions.pools]
        _no_twice("pool", pools)
        _no_twice("deployment", [f"{spec.flow.name}/{spec.name}" for spec in self.deployments])
        _no_twice("schedule", [schedule.slug for spec in self.deployments for schedule in spec.schedules])
        for spec in self.deployments:
            if spec.work_pool.name not in pools:
                raise ValueError(
                    f"{spec.name}: there is no pool {spec.work_pool.name} among definitions.pools, there are "
                    f"{', '.join(pools)}"
                )
            if spec.entrypoint == REAP and TAG in spec.tags:
                raise ValueError(f"{spec.name}: tagged {TAG}, it would be started by its own crash")
        return self


def _no_twice(kind: str, names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} {', '.join(twice)} is a duplicate")


def _check_parameters(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    """Those that are given must be the flow's, and of its types; the others are asked for by the form."""
    known = flow.fn.__annotations__
    for name, value in parameters.items():
        if name not in known or name == "return":
            expected = ", ".join(name for name in known if name != "return")
            raise ValueError(f"the flow {flow.name} has no parameter {name}; it has {expected}")
        try:
            TypeAdapter(known[name]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"parameter {name}: {_told(error)}") from error
    if isinstance(profile := parameters.get("profile"), str):
        try:
            load_profile(profile, parameters.get("overrides", ()), parameters.get("mirror"))
        except UsageError as error:
            raise ValueError(f"parameter profile: {error}") from error


def _told(error: ValidationError, names: Sequence[str] = ()) -> str:
    return "; ".join(
        _place(found["loc"], names) + found["msg"].removeprefix("Value error, ") + _wanted(found)
        for found in error.errors()
    )


def _wanted(found: Any) -> str:
    """What a part of the file that is missing should hold."""
    if found["type"] != "missing":
        return ""
    *parents, last = found["loc"]
    model: Any = DeploymentFile
    for step in parents:
        field = getattr(model, "model_fields", {}).get(step)
        model = field and field.annotation
    field = getattr(model, "model_fields", {}).get(last)
    return f"; expected {field.description}" if field and field.description else ""


def _place(location: Sequence[Any], names: Sequence[str]) -> str:
    """Where in the file, deployments by their names instead of their numbers."""
    kind, number, *rest = *location, None, None
    if kind == "deployments" and isinstance(number, int) and number < len(names):
        location = (names[number], *rest[:-2])
    name = ".".join(map(str, location))
    return f"{name}: " if name else ""


def load_deployments(path: Path | None = None) -> DeploymentFile:
    """The checked file. Raises UsageError that names every fault."""
    path = path or home() / DEPLOYMENTS
    if not path.is_file():
        raise UsageError(f"there is no {path}; TOUCHSTONE_HOME must be a folder that holds deployments/")
    raw = with_stage_deployments(read_yaml(path))
    try:
        return DeploymentFile.model_validate(raw)
    except ValidationError as error:
        found = raw.get("deployments")
        specs = [spec if isinstance(spec, dict) else {} for spec in found] if isinstance(found, list) else []
        names = [str(spec.get("name", place)) for place, spec in enumerate(specs)]
        raise UsageError(f"{path.name}: {_told(error, names)}") from error
