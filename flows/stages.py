"""One flow for each stage: what a work pool can be sent.

A flow here only opens the stage record and says in Prefect how it went. What the stage does is in `tasks/`,
which is not imported before there is work to do.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import State, Task, flow, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import TaskRun

from flows.console import console
from flows.lineage import lineage
from flows.states import failed
from tasks.config import (
    AskConfig,
    AuditConfig,
    BaseConfig,
    ClassifyConfig,
    CompareConfig,
    DownloadConfig,
    DpoConfig,
    FinetuneConfig,
    GenerateConfig,
    JudgeConfig,
    PreflightConfig,
    PretrainConfig,
    PromoteConfig,
    ReportConfig,
    ResponsesConfig,
    RowsConfig,
    StageConfig,
    TokenizeConfig,
)
from tasks.download import fingerprints
from tasks.errors import TouchstoneError, UnreachableError
from tasks.judge.identities import digests_of
from tasks.manifest import sha256_of_tree
from tasks.outputs import Reference
from tasks.record import Stage, execute
from tasks.tracking import open_tracking

Inputs = dict[str, Reference]

# A version is raised when its stage comes to mean something else: every older record is then a miss.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("download", 3, "tasks.download:download"),
        Stage("rows", 3, "tasks.rows:rows"),
        Stage("tokenize", 2, "tasks.tokenize:tokenize"),
        Stage("base", 1, "tasks.base:base"),
        Stage("preflight", 2, "tasks.preflight.stage:preflight"),
        Stage("pretrain", 2, "tasks.pretrain.stage:pretrain"),
        Stage("finetune", 3, "tasks.finetune.sft:finetune"),
        Stage("dpo", 1, "tasks.finetune.dpo:dpo"),
        Stage("classify", 1, "tasks.finetune.classification:classify"),
        Stage("generate", 2, "tasks.generate:generate"),
        Stage("responses", 1, "tasks.rows.answered:responses"),
        Stage("audit", 1, "tasks.audit.stage:audit"),
        Stage("judge", 3, "tasks.scoring.stage:judge"),
        Stage("compare", 1, "tasks.comparison.stage:compare"),
        Stage("promote", 3, "tasks.promote:promote", holds="tasks.registry:still_registered"),
        Stage("report", 4, "tasks.report:report"),
    )
}

RETRIES, RETRY_DELAY = 1, 5  # seconds; the stages that do I/O retry each request by themselves first


def stage_fingerprints(config: StageConfig) -> dict[str, str]:
    """Digests of what a config only points to (files, judges), so that the key follows their content."""
    if isinstance(config, AskConfig) and config.judges and getattr(config, "mode", "pairwise") == "pairwise":
        return digests_of(config)
    if isinstance(config, DownloadConfig):
        return fingerprints(config)
    if isinstance(config, TokenizeConfig) and config.name and Path(config.name).is_dir():
        return {"tokenizer": sha256_of_tree(Path(config.name))}
    if isinstance(config, PreflightConfig):
        return stage_fingerprints(config.pretrain)
    if isinstance(config, PretrainConfig | BaseConfig) and config.model and Path(config.model).is_dir():
        return {"model": sha256_of_tree(Path(config.model))}
    return {}


def _worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State) -> bool:
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


@task(
    name="run",
    task_run_name="{label}",
    description="Run one stage inside its MLflow run",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY,
    retry_jitter_factor=0.5,
    retry_condition_fn=_worth_retrying,
    cache_policy=None,
    persist_result=False,
)
def run_recorded(
    stage: Stage, config: StageConfig, inputs: Inputs, label: str, parent: str | None, refresh: bool
) -> Reference:
    """Execute the stage, or find what another process made of it meanwhile."""
    return execute(
        open_tracking(),
        stage,
        config,
        inputs,
        fingerprints=stage_fingerprints(config),
        parent=parent,
        label=label,
        lineage=lineage(),
        refresh=refresh,
        progress=ProgressArtifact(label),
        show=partial(_show_page, label),
    )


def _show_page(label: str, key: str, markdown: str, description: str) -> None:
    """A page of a stage in Prefect's UI; a stage that is called as its page is shows it under one name."""
    name = key if key == label else f"{key}-{label.replace(' ', '-')}"
    create_markdown_artifact(markdown, key=name, description=f"{label}: {description}")


class ProgressArtifact:
    """A stage's progress on the console, and every few seconds in Prefect's UI."""

    EVERY = 3.0  # seconds

    def __init__(self, label: str) -> None:
        self.label = label
        self._artifact: UUID | None = None
        self._sent = time.monotonic()

    def __call__(self, done: float, total: float, unit: str, note: str) -> None:
        console.progress(self.label, done, total, unit, note)
        if not total or time.monotonic() - self._sent < self.EVERY:
            return
        self._sent = time.monotonic()
        percent = 100 * done / total
        description = f"{self.label}: {done:,.0f} of {total:,.0f} {unit}, {note}"
        if self._artifact is None:
            key = f"progress-{self.label.replace(' ', '-')}"
            self._artifact = create_progress_artifact(percent, key=key, description=description)
        else:
            update_progress_artifact(self._artifact, percent, description=description)


def _perform(
    stage: str, config: StageConfig, inputs: Inputs, label: str, parent: str | None, refresh: bool
) -> State | dict[str, Any]:
    try:
        reference = run_recorded(STAGES[stage], config, inputs, label, parent, refresh)
    except TouchstoneError as error:
        return failed(error)
    return reference.model_dump()


_named: dict[str, Any] = {"flow_run_name": "{label}", "persist_result": True}


@flow(name="download", description="Verified files from mirrors, addresses, folders and hubs", **_named)
def download(
    config: DownloadConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("download", config, inputs, label, parent, refresh)


@flow(name="rows", description="Rows to fine-tune on, read and split without leaks", **_named)
def rows(
    config: RowsConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("rows", config, inputs, label, parent, refresh)


@flow(name="tokenize", description="A tokenizer, and the corpus as tokens", **_named)
def tokenize(
    config: TokenizeConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("tokenize", config, inputs, label, parent, refresh)


@flow(name="base", description="A pretrained model of Hugging Face with its tokenizer, taken over", **_named)
def base(
    config: BaseConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("base", config, inputs, label, parent, refresh)


@flow(name="preflight", description="The proofs before training, without the training", **_named)
def preflight(
    config: PreflightConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("preflight", config, inputs, label, parent, refresh)


@flow(name="pretrain", description="A GPT trained from random weights on the tokens", **_named)
def pretrain(
    config: PretrainConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("pretrain", config, inputs, label, parent, refresh)


@flow(name="finetune", description="The base model trained on the completions of the rows", **_named)
def finetune(
    config: FinetuneConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("finetune", config, inputs, label, parent, refresh)


@flow(name="dpo", description="The fine-tuned model trained to prefer the chosen to the rejected", **_named)
def dpo(
    config: DpoConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("dpo", config, inputs, label, parent, refresh)


@flow(name="classify", description="The base model with a head that gives a text its label", **_named)
def classify(
    config: ClassifyConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("classify", config, inputs, label, parent, refresh)


@flow(name="generate", description="A model's responses to the test rows", **_named)
def generate(
    config: GenerateConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("generate", config, inputs, label, parent, refresh)


@flow(
    name="judge", description="Scores for responses: a reference metric, and a judge if asked for", **_named
)
def judge(
    config: JudgeConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("judge", config, inputs, label, parent, refresh)


@flow(name="responses", description="Responses that another tool wrote, as this one writes them", **_named)
def responses(
    config: ResponsesConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("responses", config, inputs, label, parent, refresh)


@flow(name="audit", description="A judge asked about answers of known worth: is it to be believed?", **_named)
def audit(
    config: AuditConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("audit", config, inputs, label, parent, refresh)


@flow(name="compare", description="Two models' responses to the same rows, row by row", **_named)
def compare(
    config: CompareConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("compare", config, inputs, label, parent, refresh)


@flow(name="promote", description="The model in the registry, champion if its scores earn that", **_named)
def promote(
    config: PromoteConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("promote", config, inputs, label, parent, refresh)


@flow(name="report", description="The report card", **_named)
def report(
    config: ReportConfig, inputs: Inputs, label: str, parent: str | None = None, refresh: bool = False
) -> Any:
    return _perform("report", config, inputs, label, parent, refresh)


FLOWS = {
    flow.name: flow
    for flow in (
        download,
        rows,
        tokenize,
        base,
        preflight,
        pretrain,
        finetune,
        dpo,
        classify,
        generate,
        responses,
        audit,
        judge,
        compare,
        promote,
        report,
    )
}
