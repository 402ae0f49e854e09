"""Every stage, declared once; what its key is made of here; and finding what was made at that key.

Prefect, which takes seconds to import, is not needed for it.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from tasks.config import (
    AskConfig,
    BaseConfig,
    DownloadConfig,
    PreflightConfig,
    PretrainConfig,
    Reuse,
    StageConfig,
    TokenizeConfig,
)
from tasks.download.stage import fingerprints
from tasks.judge.ask.identities import digests_of
from tasks.record.compute import required, resolved
from tasks.record.manifest import sha256_of_tree
from tasks.record.outputs import Reference
from tasks.record.stage import Stage, find, stage_key
from tasks.record.tracking import Tracking, open_tracking
from tasks.registry.resolve import registered_fingerprints

Inputs = dict[str, Reference]

# A version is raised when its stage comes to mean something else: every older record is then a miss.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("download", 5, "tasks.download.stage:download"),
        Stage("rows", 6, "tasks.rows:rows"),
        Stage("tokenize", 4, "tasks.tokenize.stage:tokenize"),
        Stage("base", 2, "tasks.registry.import_model:base"),
        Stage("preflight", 3, "tasks.preflight.stage:preflight"),
        Stage("pretrain", 3, "tasks.pretrain.stage:pretrain"),
        Stage("finetune", 5, "tasks.finetune.sft:finetune"),
        Stage("dpo", 3, "tasks.finetune.dpo:dpo"),
        Stage("classify", 4, "tasks.finetune.classification:classify"),
        Stage("generate", 2, "tasks.generate:generate"),
        Stage("responses", 3, "tasks.rows.imported_responses:responses"),
        Stage("audit", 4, "tasks.judge.audit.stage:audit"),
        Stage("judge", 6, "tasks.judge.score.stage:judge"),
        Stage("compare", 4, "tasks.judge.compare.stage:compare"),
        Stage(
            "promote", 6, "tasks.registry.promote:promote", holds="tasks.registry.versions:still_registered"
        ),
        Stage("report", 7, "tasks.report:report"),
    )
}


def stage_fingerprints(config: StageConfig) -> dict[str, str]:
    """What decides a result beside the config: digests of what it only points to, and what computes here."""
    return _content(config) | resolved(config)


def _content(config: StageConfig) -> dict[str, str]:
    """Digests of what a config only points to (files, judges), so that the key follows their content."""
    if isinstance(config, AskConfig) and config.judges and getattr(config, "mode", "pairwise") == "pairwise":
        return digests_of(config)
    if isinstance(config, DownloadConfig):
        return fingerprints(config)
    if isinstance(config, TokenizeConfig) and config.name and Path(config.name).is_dir():
        return {"tokenizer": sha256_of_tree(Path(config.name))}
    if isinstance(config, PreflightConfig):
        return _content(config.pretrain)
    if isinstance(config, BaseConfig) and config.is_registered:
        return registered_fingerprints(open_tracking(), config.model)
    if isinstance(config, BaseConfig) and config.folder:
        return {"model": sha256_of_tree(config.folder)}
    if isinstance(config, PretrainConfig) and config.model and Path(config.model).is_dir():
        return {"model": sha256_of_tree(Path(config.model))}
    return {}


def asks_anew(config: StageConfig) -> bool:
    """Whether a stage is done again whatever it made before, since its judges are to be asked anew."""
    return isinstance(config, AskConfig) and config.anew and bool(config.judges)


def find_output(
    tracking: Tracking, stage: str, config: StageConfig, inputs: Inputs, reuse: Reuse
) -> Reference | None:
    """A finished run of a stage with the same key whose files are all there, unaltered."""
    digests = {name: reference.digest for name, reference in inputs.items()}
    beside = stage_fingerprints(config)
    key = stage_key(STAGES[stage], config, digests | beside)
    return find(tracking, STAGES[stage], key, required(config, beside, reuse))


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
            metrics=run.data.metrics,
        )


def told_at_the_end(
    run_id: str, outcomes: Sequence[Outcome], started: float, told: Mapping[str, Any], error: str | None
) -> dict[str, Any]:
    """What --json prints; `started` is a time on the monotonic clock, an `error` makes it a refusal."""
    return {
        "status": "refused" if error else "completed",
        **({"error": error} if error else {}),
        "run_id": run_id,
        "seconds": round(time.monotonic() - started, 3),
        "stages": [outcome.model_dump() for outcome in outcomes],
        **told,
    }


class Runs(Protocol):
    """Who gives the output of one stage after another: found, or made."""

    tracking: Tracking

    def run(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference
    ) -> Reference: ...


class NotFoundError(Exception):
    """A stage was not done before."""


class Found:
    """Gives the outputs of stages that were done before, and makes none."""

    def __init__(self, tracking: Tracking, reuse: Reuse = "auto") -> None:
        self.tracking = tracking
        self.outcomes: list[Outcome] = []
        self._reuse = reuse

    def run(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference
    ) -> Reference:
        """Raises NotFoundError for a stage that has to be done."""
        started = time.monotonic()
        anew = asks_anew(config)
        found = None if anew else find_output(self.tracking, stage, config, inputs, self._reuse)
        if found is None:
            raise NotFoundError(label or stage)
        seconds = time.monotonic() - started
        self.outcomes.append(Outcome.of(self.tracking, label or stage, found, None, seconds))
        return found
