"""What the key of a stage is made of here, and finding what was made at that key.

Prefect, which takes seconds to import, is not needed for it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from flows.stages import STAGES
from tasks.config import AskConfig, Reuse, StageConfig
from tasks.errors import TouchstoneError
from tasks.record.compute import resolved
from tasks.record.stage import find, metrics_of
from tasks.record.tracking import Tracking
from tasks.record.work import Reference, Stage, Work

Inputs = dict[str, Reference]

STATUSES = {0: "completed", 1: "failed", 2: "usage", 3: "refused"}  # in --json, by the command's exit status


class Content:
    """Digests of what settings point to, each found once: a judge is not asked who it is by every stage."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, stage: Stage, config: StageConfig) -> dict[str, str]:
        if stage.fingerprints is None:
            return {}
        asked = (stage.fingerprints, config.model_dump_json())
        if asked not in self._found:
            self._found[asked] = stage.content(config)
        return self._found[asked]


def work_of(
    stage: str,
    config: StageConfig,
    inputs: Mapping[str, Reference | None],
    content: Content | None = None,
) -> Work:
    """What a stage is to do: its key holds the content that its settings point to, and what computes here.

    An input that is None is one that the stage does without.
    """
    declared = STAGES[stage]
    found = (content or Content()).of(declared, config)
    given = {name: output for name, output in inputs.items() if output is not None}
    return Work(declared, config, given, found | resolved(config))


def asks_anew(config: StageConfig) -> bool:
    """Whether a stage is done again whatever it made before, since its judges are to be asked anew."""
    return isinstance(config, AskConfig) and config.anew and bool(config.judges)


class Outcome(BaseModel):
    """How one stage of a pipeline went; `seconds` are those of this pipeline, near nothing when cached."""

    name: str
    run_id: str
    key: str
    digest: str
    cached: bool
    seconds: float
    metrics: dict[str, float]

    @classmethod
    def of(
        cls, tracking: Tracking, label: str, reference: Reference, pipeline: str | None, seconds: float
    ) -> "Outcome":
        """Of a stage of `pipeline`, the MLflow run that it is a child of if it was made there."""
        run = tracking.client.get_run(reference.run_id)
        return cls(
            name=label,
            run_id=reference.run_id,
            key=reference.key,
            digest=reference.digest,
            cached=pipeline is None or run.data.tags.get("mlflow.parentRunId") != pipeline,
            seconds=round(seconds, 3),
            metrics=metrics_of(run),
        )


def told_at_the_end(
    run_id: str,
    outcomes: Sequence[Outcome],
    started: float,
    told: Mapping[str, Any],
    error: TouchstoneError | None,
) -> dict[str, Any]:
    """What --json prints; `started` is a time on the monotonic clock, an `error` decides on the status."""
    return {
        "status": STATUSES[error.exit_status if error else 0],
        **({"error": str(error)} if error else {}),
        "run_id": run_id,
        "seconds": round(time.monotonic() - started, 3),
        "stages": [outcome.model_dump() for outcome in outcomes],
        **told,
    }


class Runs(Protocol):
    """Who gives the output of one stage after another: found, or made. An input that is None is left out."""

    tracking: Tracking

    def stage(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference | None
    ) -> Reference: ...


PLANNED = "planned"  # in the place of an MLflow run: an output that a run would make


def is_planned(reference: Reference | None) -> bool:
    """Whether there is no such output yet."""
    return reference is not None and reference.run_id == PLANNED


class NotFoundError(Exception):
    """A stage was not done before."""


class Found:
    """Gives the outputs of stages that were done before, and makes none."""

    def __init__(self, tracking: Tracking, reuse: Reuse = "auto") -> None:
        self.tracking = tracking
        self.outcomes: list[Outcome] = []
        self._reuse = reuse
        self._content = Content()

    def stage(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference | None
    ) -> Reference:
        """Raises NotFoundError for a stage that has to be done."""
        started = time.monotonic()
        anew = asks_anew(config)
        work = work_of(stage, config, inputs, self._content)
        found = None if anew else find(self.tracking, work, self._reuse)
        if found is None:
            raise NotFoundError(label or stage)
        seconds = time.monotonic() - started
        self.outcomes.append(Outcome.of(self.tracking, label or stage, found, None, seconds))
        return found
