"""One flow for each stage: what a work pool can be sent.

A flow here only opens the stage record and says in Prefect how it went. What the stage does is in `tasks/`,
which is not imported before there is work to do.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, partial
from types import MappingProxyType
from typing import Annotated, Any, Self
from uuid import UUID

from mlflow.exceptions import MlflowException
from prefect import Flow, State, Task, flow, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run
from pydantic import Field

from flows.dispatch.lineage import lineage, link_to_mlflow
from flows.dispatch.lookup import Inputs, asks_anew, work_of
from flows.dispatch.progress_tag import ProgressTag
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.process.intervals import intervals
from flows.process.progress import TICK, Clock, StageProgress, Ticker, lines_apart
from flows.server.reaper import CRASH_HOOKS
from flows.stages import STAGES
from tasks.config import Reuse
from tasks.errors import StageError, TouchstoneError, UnreachableError
from tasks.machine.home import without_password
from tasks.machine.scarcity import wanting
from tasks.machine.secrets import redacted
from tasks.record.stage import MADE_BY, Watch, execute, watch_nothing
from tasks.record.tracking import Tracking, open_tracking, set_tags
from tasks.record.work import Reference, Work

log = logging.getLogger(__name__)

EVALUATING = "evaluating"  # the phase of a training between two steps
RETRIES = 1  # the stages that do I/O retry each request by themselves first


def _worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State) -> bool:
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


@task(
    name="attempt",
    task_run_name="attempt {label}",
    description="Run one stage inside its MLflow run",
    retries=RETRIES,
    retry_delay_seconds=intervals().retry,
    retry_jitter_factor=0.5,
    retry_condition_fn=_worth_retrying,
    cache_policy=None,
    persist_result=False,
)
def run_recorded(
    work: Work,
    label: str,
    parent: str | None,
    refresh: bool,
    reuse: Reuse,
    watch: Watch,
) -> Reference:
    """Execute the stage, or find what another process made of it meanwhile."""
    with _told_without_secrets(), ProgressArtifact(label) as progress:
        tracking = open_tracking(wait=intervals().mlflow_away)
        if parent:
            _require_run(tracking, parent)
        reference = execute(
            tracking,
            work,
            parent=parent,
            label=label,
            lineage=lineage(),
            refresh=refresh,
            reuse=reuse,
            progress=progress,
            phase=progress.phase,
            say=partial(_say, label),
            show=partial(_show_page, label),
            watch=watch,
            opened=partial(_opened, tracking, progress),
        )
        if parent:
            set_tags(tracking.client, parent, {MADE_BY + label: reference.run_id})
        return reference


def _opened(tracking: Tracking, progress: "ProgressArtifact", run_id: str) -> None:
    """The stage's MLflow run is there."""
    link_to_mlflow(tracking, run_id)
    progress.tag = ProgressTag(tracking, run_id)


def _require_run(tracking: Tracking, run_id: str) -> None:
    """Raises StageError where the pipeline's run is not: its work would be found by nobody."""
    try:
        tracking.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise StageError(
            f"the pipeline's MLflow run {run_id} is not in {without_password(tracking.uri)}. Do this worker "
            "and the pipeline name the same server in MLFLOW_TRACKING_URI?"
        ) from error


@contextmanager
def _told_without_secrets() -> Iterator[None]:
    """Prefect logs and keeps an error's text as it is; that of a defect is told as one."""
    try:
        yield
    except TouchstoneError as error:
        raise error.retold(redacted(str(error))) from error
    except Exception as error:
        if lacked := wanting(error):
            told = redacted(str(error)) or type(error).__name__
            raise StageError(
                f"the machine lacked {lacked} ({told}). Run again when there is more: what is done is found"
            ) from error
        raise StageError(
            f"{type(error).__name__}: {redacted(str(error))}. This is a defect here or in a library; "
            "the traceback is in this stage's MLflow run (traceback.txt)"
        ) from error


def _say(label: str, text: str) -> None:
    console.say(f"  {label}: {text}")
    log.info("%s: %s", label, text)


def _show_page(label: str, key: str, markdown: str, description: str) -> None:
    """A page of a stage in Prefect's UI; a stage that is called as its page is shows it under one name."""
    name = key if key == label else f"{key}-{label}"
    create_markdown_artifact(markdown, key=artifact_key(name), description=f"{label}: {description}")


def artifact_key(name: str) -> str:
    """A name as Prefect allows it for an artifact: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class ProgressArtifact:
    """A stage's progress on the console, in MLflow, and in Prefect as an artifact and in its log.

    While this is entered the log has a line every ten seconds (every minute after an hour), though the stage
    tell nothing: whoever waits for it elsewhere reads them there. Beside those it has one at each evaluation
    of a training, and one of the last count. A stage may tell its progress from a thread
    that Prefect knows nothing of, as a tokenizer does that reads its texts in one of its own: what is told
    belongs to the run that this was made in all the same.
    """

    EVERY = 3.0  # seconds between two values of the artifact, and of the tag in MLflow

    def __init__(self, label: str, clock: Clock = time.monotonic) -> None:
        self.stage = StageProgress(label, clock)
        self._clock = clock
        self._run = copy_context()
        self._artifact: UUID | None = None
        self._sent = clock()
        self._logged = 0.0  # seconds after the beginning
        self._tagged = 0.0  # likewise
        self.tag: ProgressTag | None = None
        """Set once the stage has an MLflow run."""
        self._ticker: Ticker | None = None

    def __enter__(self) -> Self:
        self._ticker = Ticker(self.tick, TICK)
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._ticker.stop()
        if error is None and self.stage.total:
            self.stage.phase("")
            self._log()
        if error is None and self.tag:
            self.tag.remove()

    def tick(self) -> None:
        """Write into the run's log, and on its MLflow run, how far the stage is, when that is due."""
        gone = self.stage.gone
        if self.tag and gone - self._tagged >= self.EVERY:
            self._tagged = gone
            self.tag.tell(self.stage)
        if gone - self._logged < lines_apart(gone):
            return
        self._log()

    def _log(self) -> None:
        self._logged = self.stage.gone
        self._run.copy().run(log.info, "%s", self.stage.text())

    def __call__(self, done: float, total: float, unit: str, note: str) -> None:
        console.progress(self.stage.label, done, total, unit, note)
        self.stage.report(done, total, unit, note)
        if not total or self._clock() - self._sent < self.EVERY:
            return
        self._sent = self._clock()
        self._run.copy().run(self._send, 100 * done / total, self.stage.text())

    def phase(self, what: str) -> None:
        """The stage does this now; what a training has come to when it is evaluated is logged."""
        if what == EVALUATING and self.stage.gone - self._logged >= self.EVERY:
            self._log()
        console.phase(self.stage.label, what)
        self.stage.phase(what)

    def _send(self, percent: float, description: str) -> None:
        if self._artifact is None:
            key = artifact_key(f"progress-{self.stage.label}")
            self._artifact = create_progress_artifact(percent, key=key, description=description)
        else:
            update_progress_artifact(self._artifact, percent, description=description)


@cache
def flow_of(name: str) -> Flow[..., Any]:
    """The flow of a stage; its parameters make the form in Prefect's UI. Raises KeyError for no stage."""
    stage = STAGES[name]

    @flow_body
    def run_stage(
        config: Annotated[stage.config, Field(title="Settings", description=f"what {stage.name} is to do")],
        inputs: Annotated[
            Inputs,
            Field(title="Inputs", description="references to the outputs of earlier stages, by input name"),
        ],
        label: Annotated[
            str, Field(title="Label", description="what this run of the stage is called")
        ] = stage.name,
        parent: Annotated[
            str | None,
            Field(title="Pipeline", description="MLflow run of the pipeline that this is a part of"),
        ] = None,
        pipeline: Annotated[  # noqa: ARG001 - `_run_name` reads it
            str | None,
            Field(title="Pipeline's name", description="what the name of this run begins with"),
        ] = None,
        refresh: Annotated[
            bool, Field(title="Refresh", description="do it again, though it was done before")
        ] = False,
        reuse: Annotated[
            Reuse,
            Field(title="Reuse", description="which earlier results count: of any environment, of this one"),
        ] = "auto",
    ) -> Any:
        work = _known.get() or work_of(stage.name, config, inputs)
        again = refresh or asks_anew(config)
        watch = _watched.get().get(stage.name, watch_nothing)
        return run_recorded(work, label or stage.name, parent, again, reuse, watch).model_dump()

    return flow(
        name=stage.name,
        description=stage.description,
        flow_run_name=partial(_run_name, stage.name),
        persist_result=False,
        **CRASH_HOOKS,
    )(run_stage)


_known: ContextVar[Work | None] = ContextVar("known", default=None)
_watched: ContextVar[Mapping[str, Watch]] = ContextVar("watched", default=MappingProxyType({}))


@contextmanager
def watching(stage: str, watch: Watch) -> Iterator[None]:
    """Look at the curves of a stage that runs in this process while the body does."""
    token = _watched.set({stage: watch})
    try:
        yield
    finally:
        _watched.reset(token)


def stage_run_name(pipeline: str | None, label: str) -> str:
    """What a stage is called among the runs of Prefect: `quickstart: pretrain`."""
    return f"{pipeline}: {label}" if pipeline else label


def _run_name(stage: str) -> str:
    given = flow_run.parameters
    return stage_run_name(given.get("pipeline"), given.get("label") or stage)


def run_here(work: Work, label: str, parent: str, pipeline: str, refresh: bool, reuse: Reuse) -> State:
    """Run a stage as a flow in this process; the key that its work has is not computed again."""
    token = _known.set(work)
    try:
        run = flow_of(work.stage.name)
        return run(work.config, dict(work.inputs), label, parent, pipeline, refresh, reuse, return_state=True)
    finally:
        _known.reset(token)


def __getattr__(name: str) -> Flow[..., Any]:
    """The flow of a stage by its name, as the entrypoints of deployments call it."""
    try:
        return flow_of(name)
    except KeyError:
        raise AttributeError(f"there is no stage {name}") from None
