"""Running a pipeline's stages one after another: what is there already is found, the rest is run."""

import logging
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import State, task
from prefect.context import SettingsContext, get_settings_context
from prefect.states import Completed

from flows.dispatch.lineage import lineage, link_to_mlflow
from flows.dispatch.lookup import Content, Outcome, asks_anew, work_of
from flows.dispatch.runs import OF_PROFILES, PIPELINE
from flows.dispatch.stage_flows import run_here, stage_run_name
from flows.process.console import console
from flows.process.detached import log_tags
from flows.process.flow_body import error_in
from flows.process.intervals import intervals
from flows.server.pools import Pools, deployment_of, run_on_pool
from tasks.config import Reuse, StageConfig
from tasks.errors import RefusedError, StageError, StoppedError, TouchstoneError
from tasks.machine.home import without_password
from tasks.machine.locks import holding
from tasks.record.outputs import fault
from tasks.record.run_lifecycle import ending, lock_path, lock_tags, reap_orphaned_runs
from tasks.record.stage import MADE_BY, find, flat, reference_to
from tasks.record.tracking import Tracking, log_params, open_tracking, set_tags
from tasks.record.work import Reference, Work

log = logging.getLogger(__name__)

SETTINGS = "settings.json"
Settings = StageConfig | Mapping[str, StageConfig | Sequence[StageConfig] | str]


@task(
    name="reuse",
    task_run_name="{name}",
    description="A stage that was done before with the same settings and inputs: its output is used again",
    cache_policy=None,
    persist_result=False,
)
def reused(name: str, run_id: str) -> State:
    """Stand for a cached stage in the graph of a flow run; one that runs is a flow run of its own there."""
    return Completed(name="Cached", message=f"{name}: found in MLflow run {run_id}")


class PipelineRun:
    """The stages of one pipeline run, under one MLflow parent run."""

    def __init__(
        self,
        tracking: Tracking,
        run_id: str,
        name: str,
        refresh: Collection[str],
        pools: Pools | None = None,
        reuse: Reuse = "auto",
    ) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self.name = name
        self.refresh = refresh
        self.pools = pools
        self.reuse = reuse
        self.outcomes: list[Outcome] = []
        self._content = Content()

    def stage(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference | None
    ) -> Reference:
        """Find the stage's output or make it: as a subflow here, or on its work pool when there are pools.

        An input that is None is left out. Raises the stage's own error, with its label before the message.
        """
        label = label or stage
        started = time.monotonic()
        refresh = stage in self.refresh or asks_anew(config)
        console.begin(label)
        console.phase(label, "looking for what it made before")
        work = work_of(stage, config, inputs, self._content)
        reference = None if refresh else find(self.tracking, work, self.reuse)
        if reference is None:
            with self._shown(label, started):
                deployment = deployment_of(work.stage, config) if self.pools else None
                if self.pools and deployment:
                    run_on_pool(
                        deployment,
                        config,
                        dict(work.inputs),
                        label,
                        self.run_id,
                        self.name,
                        refresh,
                        self.reuse,
                        self.pools,
                        _tell,
                    )
                    reference = self._named(label, deployment)
                else:
                    reference = self._run_here(work, label, refresh)
        else:
            console.end(label, "cached", time.monotonic() - started, "dim")
            set_tags(self.tracking.client, self.run_id, {MADE_BY + label: reference.run_id})
            reused(stage_run_name(self.name, label), reference.run_id, return_state=True)
            log.info("%s: found in MLflow run %s", label, reference.run_id)
        self._remember(label, reference, time.monotonic() - started)
        return reference

    @contextmanager
    def _shown(self, label: str, started: float) -> Iterator[None]:
        """Tell how a stage begins and ends; its error is told with its label."""
        console.begin(label)
        log.info("%s: started", label)
        outcome, style = "failed", "red"
        try:
            yield
            outcome, style = "done", "green"
        except StoppedError as error:
            outcome, style = "stopped", "yellow"
            raise StoppedError(f"{label}: {error}") from error
        except TouchstoneError as error:
            outcome = "refused" if isinstance(error, RefusedError) else "failed"
            raise error.retold(f"{label}: {error}") from error
        except Exception:
            raise
        except BaseException:  # a signal
            outcome, style = "interrupted", "yellow"
            raise
        finally:
            seconds = time.monotonic() - started
            console.end(label, outcome, seconds, style)
            log.info("%s: %s after %.1f s", label, outcome, seconds)

    def _run_here(self, work: Work, label: str, refresh: bool) -> Reference:
        with without_heartbeat():
            state = run_here(work, label, self.run_id, self.name, refresh, self.reuse)
        if state.is_completed():
            return Reference.model_validate(state.result())
        raise error_in(state)

    def _named(self, label: str, deployment: str) -> Reference:
        """The output that a stage elsewhere has named on this pipeline's run, of whatever device's key."""
        named = self.tracking.client.get_run(self.run_id).data.tags.get(MADE_BY + label)
        reference = reference_to(self.tracking.client.get_run(named)) if named else None
        if reference is None or fault(self.tracking, reference):
            raise StageError(
                f"{deployment} is done, but its output is not in {without_password(self.tracking.uri)}. Do "
                "its worker and this pipeline name the same server in MLFLOW_TRACKING_URI?"
            )
        return reference

    def _remember(self, label: str, reference: Reference, seconds: float) -> None:
        self.outcomes.append(Outcome.of(self.tracking, label, reference, self.run_id, seconds))


def _tell(line: str) -> None:
    """Tell how a stage on a pool goes: here, and in the log, where whoever follows this pipeline reads it."""
    console.say(f"  {line}")
    log.info("%s", line)


@contextmanager
def without_heartbeat() -> Iterator[None]:
    """Flows that live and die with this process need none; stopping one takes Prefect a second.

    The settings are copied: `temporary_settings` reads and validates all of them anew, for each stage.
    """
    context = get_settings_context()
    flows = context.settings.flows.model_copy(update={"heartbeat_frequency": None})
    settings = context.settings.model_copy(update={"flows": flows})
    with SettingsContext(profile=context.profile, settings=settings):
        yield


def _as_json(settings: Any, exclude_defaults: bool = False) -> Any:
    if isinstance(settings, StageConfig):
        return settings.model_dump(mode="json", exclude_defaults=exclude_defaults)
    if isinstance(settings, Mapping):
        return {name: _as_json(value, exclude_defaults) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_as_json(value, exclude_defaults) for value in settings]
    return settings


@contextmanager
def pipeline_run(
    name: str,
    settings: Settings,
    refresh: Collection[str],
    kind: str = PIPELINE,
    pools: Pools | None = None,
    reuse: Reuse = "auto",
    profile: str | None = None,
    group: str | None = None,
) -> Iterator[PipelineRun]:
    """Open the MLflow run that stages are children of, and give it the end that they have.

    The page of the run shows the settings that are not the defaults; all are in its `settings.json`.
    `profile` is the name of what is run, where that is not the run's own; `group` the MLflow run of all
    seeds, or of the sweep, that this is one of. What earlier processes of this machine left RUNNING is ended
    first.
    """
    tracking = open_tracking(wait=intervals().mlflow_away if pools else 0)
    client = tracking.client
    reap_orphaned_runs(tracking)
    lock = f"run-{uuid.uuid4().hex}"
    with holding(lock_path(tracking, lock)):
        tags = {
            "mlflow.runName": name,
            "touchstone.kind": kind,
            **({"touchstone.profile": profile or name} if kind in OF_PROFILES else {}),
            **({"mlflow.parentRunId": group} if group else {}),
            **lineage(),
            **lock_tags(tracking, lock),
            **log_tags(),
        }
        run_id = client.create_run(tracking.experiment_id, tags=tags).info.run_id
        run = PipelineRun(tracking, run_id, name, refresh, pools, reuse)
        with ending(tracking, run_id):
            link_to_mlflow(tracking, run_id)
            log_params(client, run_id, flat(_as_json(settings, exclude_defaults=True)))
            client.log_dict(run_id, _as_json(settings), SETTINGS)
            yield run
