"""Running a pipeline's stages one after another: what is there already is found, the rest is run."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect import task
from pydantic import BaseModel

from flows.console import console
from flows.lineage import lineage
from flows.stages import FLOWS, STAGES, Inputs, stage_fingerprints
from flows.states import error_in
from tasks.config import StageConfig
from tasks.disk import explained
from tasks.errors import RefusedError, StageError, TouchstoneError
from tasks.outputs import Reference
from tasks.record import end_badly, find, flat, stage_key
from tasks.tracking import Tracking, log_params, open_tracking, set_tags

PIPELINE = "pipeline"  # the value of the tag touchstone.kind on a pipeline's own MLflow run


class Outcome(BaseModel):
    """How one stage of a pipeline went; `seconds` are those of this pipeline, near nothing when cached."""

    name: str
    run_id: str
    key: str
    digest: str
    cached: bool
    seconds: float
    metrics: dict[str, float]


@task(
    name="look up",
    description="Find a finished run with the same key whose files are all there, unaltered",
    cache_policy=None,
    persist_result=False,
)
def look_up(tracking: Tracking, stage: str, config: StageConfig, inputs: Inputs) -> Reference | None:
    digests = {name: reference.digest for name, reference in inputs.items()}
    key = stage_key(STAGES[stage], config, digests | stage_fingerprints(config))
    return find(tracking, STAGES[stage], key)


class Chain:
    """The stages of one pipeline run, under one MLflow parent run."""

    def __init__(self, tracking: Tracking, run_id: str, refresh: Collection[str]) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self.refresh = refresh
        self.outcomes: list[Outcome] = []

    def run(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference
    ) -> Reference:
        """Find the stage's output or make it, as a subflow of this machine.

        Raises the stage's own error, with its label before the message.
        """
        label = label or stage
        started = time.monotonic()
        refresh = stage in self.refresh
        search = look_up.with_options(task_run_name=f"look up {label}")
        reference = None if refresh else search(self.tracking, stage, config, inputs)
        cached = reference is not None
        if reference is None:
            reference = self._run_here(stage, config, inputs, label, refresh, started)
        else:
            console.end(label, "cached", time.monotonic() - started, "dim")
        self._remember(label, reference, cached, time.monotonic() - started)
        return reference

    def _run_here(
        self, stage: str, config: StageConfig, inputs: Inputs, label: str, refresh: bool, started: float
    ) -> Reference:
        console.begin(label)
        outcome, style = "failed", "red"
        try:
            state = FLOWS[stage](config, inputs, label, self.run_id, refresh, return_state=True)
            if state.is_completed():
                outcome, style = "done", "green"
                return Reference.model_validate(state.result())
            error = error_in(state)
            if isinstance(error, TouchstoneError):
                outcome = "refused" if isinstance(error, RefusedError) else "failed"
                raise type(error)(f"{label}: {error}")
            raise StageError(
                f"{label}: {type(error).__name__}: {error}. This is a defect here or in a library; "
                "the traceback is in this stage's MLflow run (traceback.txt)"
            ) from error
        finally:
            console.end(label, outcome, time.monotonic() - started, style)

    def link(self) -> None:
        """Name on the pipeline's run the runs that its stages are found in."""
        links = {f"touchstone.stage.{outcome.name}": outcome.run_id for outcome in self.outcomes}
        if links:
            set_tags(self.tracking.client, self.run_id, links)

    def _remember(self, label: str, reference: Reference, cached: bool, seconds: float) -> None:
        run = self.tracking.client.get_run(reference.run_id)
        self.outcomes.append(
            Outcome(
                name=label,
                run_id=reference.run_id,
                key=reference.key,
                digest=reference.digest,
                cached=cached,
                seconds=round(seconds, 3),
                metrics=run.data.metrics,
            )
        )


@contextmanager
def pipeline_run(
    name: str, settings: Mapping[str, Any], refresh: Collection[str], kind: str = PIPELINE
) -> Iterator[Chain]:
    """Open the MLflow run that stages are children of, and give it the end that they have."""
    tracking = open_tracking()
    client = tracking.client
    tags = {
        "mlflow.runName": name,
        "touchstone.kind": kind,
        **({"touchstone.profile": name} if kind == PIPELINE else {}),
        **lineage(),
    }
    run_id = client.create_run(tracking.experiment_id, tags=tags).info.run_id
    chain = Chain(tracking, run_id, refresh)
    try:
        log_params(client, run_id, flat(settings))
        yield chain
        chain.link()
    except BaseException as error:
        told = explained(error, tracking.root)
        end_badly(tracking, run_id, told, chain.link)
        if told is error:
            raise
        raise told from error
    client.set_terminated(run_id, "FINISHED")
