"""The stage record: one idea that carries caching, lineage, resume and hand-over.

A stage is (name, version, config, inputs). The SHA-256 of the canonical JSON of those is its key. Its
outputs are the files of an MLflow run, complete once their manifest is there:

    manifest.json     every file under output/, with size and SHA-256; written last
    output/           what the next stages read; the same work gives the same bytes
    auxiliary/        times, speeds, host names, pictures: kept, but not part of the digest
    auxiliary.json    the names and sizes of those

A finished run with the same key whose files are all there, unaltered, is a hit. A stage that dies leaves
`mlruns/work/<key>/`, from which the next attempt continues.
"""

import json
import logging
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from mlflow.exceptions import MlflowException

from tasks.config import Reuse, StageConfig
from tasks.errors import StageError
from tasks.machine.json_files import write_json
from tasks.machine.locks import Timeout, holding
from tasks.machine.secrets import redacted
from tasks.record import compute
from tasks.record.outputs import AUXILIARY, CONFIG, DAMAGED, OUTPUT, fault, fetch, publish
from tasks.record.run_lifecycle import (
    KILLED,
    LOCK,
    MACHINE,
    end,
    ending,
    lock_path,
    lock_tags,
    machine_of,
    running,
)
from tasks.record.tracking import MetricBuffer, Tracking, log_params, mlflow_name, set_tags
from tasks.record.work import Reference, Stage, Work
from tasks.show.document import Document
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown

log = logging.getLogger(__name__)

ENVIRONMENT = "touchstone.environment"
MADE_BY = "touchstone.stage."  # before a stage's label, on a pipeline's run: the run that its output is in
CURVES = "curves/"  # before the name of a metric that has steps: MLflow's UI shows such sections first
TWICE = ("UNIQUE constraint failed", "duplicate key value")  # of a row that is there


class Progress(Protocol):
    """Who wants to know how far a stage is; `total` is 0 where it is not known."""

    def __call__(self, done: float, total: float, unit: str, note: str) -> None: ...


def no_progress(done: float, total: float, unit: str, note: str) -> None:
    """For callers that do not watch."""


def say_nothing(text: str) -> None:
    """For callers that do not listen."""


class Show(Protocol):
    """Who wants to show a page that a stage wrote."""

    def __call__(self, key: str, markdown: str, description: str) -> None: ...


def no_show(key: str, markdown: str, description: str) -> None:
    """For callers that show none."""


Watch = Callable[[Mapping[str, float], int], bool]
"""Who looks at the curves of a stage as they grow; True asks it to stop where it can be continued."""


def watch_nothing(*_: object) -> bool:
    """For callers that do not look."""
    return False


@dataclass
class StageRun:
    """What a running stage is given: folders to write to, and a way to report numbers and progress."""

    out: Path
    """Files that are the result."""
    auxiliary: Path
    """Files about this run of it: times, speeds, pictures."""
    checkpoint: Path
    """Files from which a later attempt at the same key continues; gone once the stage is done."""
    tracking: Tracking | None = None
    run_id: str | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)
    """The records behind the inputs, by input name."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the configuration only points to, as they stand in the key."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """What made this run: the code's commit, the flow run."""
    progress: Progress = no_progress
    phase: Callable[[str], None] = say_nothing
    """Who is told what is being done, where that takes time and there is nothing to count."""
    say: Callable[[str], None] = say_nothing
    """Who is told what a person should know and the numbers do not tell: where a training resumes."""
    show: Show = no_show
    watch: Watch = watch_nothing
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the stage is to stop; a training heeds it where it can be continued."""
    shared: Path | None = None
    """Files of this machine that outlive the stage; all that is there can be made again."""
    metrics: dict[str, float] = field(default_factory=dict)
    _buffer: MetricBuffer | None = None

    def __post_init__(self) -> None:
        self.shared = self.shared or self.checkpoint
        for folder in (self.out, self.auxiliary, self.checkpoint, self.shared):
            folder.mkdir(parents=True, exist_ok=True)
        if self.tracking and self.run_id:
            self._buffer = MetricBuffer(self.tracking.client, self.run_id)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers: those of a step are points of curves, the others are the stage's results.

        The last value of each name is the stage's.
        """
        self.metrics.update(values)
        if self._buffer:
            prefix = "" if step is None else CURVES
            self._buffer.add({prefix + name: value for name, value in values.items()}, step or 0)
        if step is not None and self.watch(values, step):
            self.stop.set()

    def log_dataset(self, name: str, digest: str, source: str, context: str, **profile: object) -> None:
        """Record a dataset as an input of this run; a tag keeps what MLflow cuts from the digest."""
        if self.tracking and self.run_id:
            log_dataset(self.tracking, self.run_id, name, digest, source, context, profile)
            tag = mlflow_name(f"touchstone.dataset.{context}.{name}")
            set_tags(self.tracking.client, self.run_id, {tag: digest})

    def log_table(self, rows: list[dict[str, Any]], name: str) -> None:
        """Show rows as a table in MLflow's UI."""
        if self.tracking and self.run_id and rows:
            columns = {column: [row.get(column) for row in rows] for column in rows[0]}
            self.tracking.client.log_table(self.run_id, columns, name)

    def log_page(self, key: str, markdown: str, description: str) -> None:
        """Show a page to people: as `<key>.md` in MLflow, and wherever the caller shows pages."""
        if self.tracking and self.run_id:
            self.tracking.client.log_text(self.run_id, markdown, f"{key}.md")
        self.show(key, markdown, description)

    def log_document(self, key: str, document: Document, description: str) -> None:
        """Show a document to people: as `log_page` does, and as `<key>.html` beside the outputs."""
        (self.auxiliary / f"{key}.html").write_text(as_html(document), encoding="utf-8")
        self.log_page(key, as_markdown(document), description)

    def log_traceback(self) -> None:
        """Keep the traceback of a defect with the run, where it can be looked for."""
        try:
            self.tracking.client.log_text(self.run_id, redacted(traceback.format_exc()), "traceback.txt")
        except Exception as second:
            log.warning("the traceback of run %s could not be kept: %s", self.run_id, second)

    def flush(self) -> None:
        if self._buffer:
            self._buffer.flush()


def log_dataset(
    tracking: Tracking,
    run_id: str,
    name: str,
    digest: str,
    source: str,
    context: str,
    profile: Mapping[str, object],
) -> None:
    """Show a data set on the page of a run; `profile` holds numbers of it, `num_rows` among them."""
    dataset = Dataset(
        name=name,
        digest=digest[:36],
        source_type="touchstone",
        source=json.dumps({"uri": source, "sha256": digest}, allow_nan=False),
        profile=json.dumps(profile, allow_nan=False) if profile else None,
    )
    tags = [InputTag("mlflow.data.context", context)]
    try:
        tracking.client.log_inputs(run_id, [DatasetInput(dataset, tags)])
    except MlflowException as error:
        if not any(words in str(error) for words in TWICE):
            raise
        # MLflow looks whether a dataset is known and then enters it: another run has just done so.
        tracking.client.log_inputs(run_id, [DatasetInput(dataset, tags)])


# Finding what was done before


def find(tracking: Tracking, work: Work, reuse: Reuse = "any") -> Reference | None:
    """The newest finished run of this work whose files are all there, unaltered; None is a miss.

    `reuse` says in which environment (tasks/record/compute.py) it must have been made.
    """
    environment = compute.required(work.config, work.fingerprints, reuse)
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.key` = '{work.key}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        if environment not in (None, run.data.tags.get(ENVIRONMENT)):
            continue
        reference = reference_to(run)
        if reference and fault(tracking, reference) is None and _holds(tracking, work.stage, reference):
            return reference
    return None


def _holds(tracking: Tracking, stage: Stage, reference: Reference) -> bool:
    if stage.holds is None:
        return True
    try:
        return resolve_name(stage.holds)(tracking, fetch(tracking, reference) / OUTPUT)
    except StageError:  # the files were altered on a server in a way that only fetching them shows
        return False


def by_digest(tracking: Tracking, digest: str, stages: Collection[str]) -> Reference | None:
    """The newest output of these stages whose digest begins so; None where there is none."""
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.digest` LIKE '{digest}%' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    return next((found for run in runs if (found := reference_to(run)) and found.stage in stages), None)


def reference_to(run: Run) -> Reference | None:
    """The reference to a finished run's output, or None when it has none that can be used."""
    tags = run.data.tags
    if "touchstone.digest" not in tags or DAMAGED in tags or run.info.artifact_uri is None:
        return None
    return Reference(
        stage=tags["touchstone.stage"],
        run_id=run.info.run_id,
        key=tags["touchstone.key"],
        digest=tags["touchstone.digest"],
        uri=run.info.artifact_uri,
    )


# Doing it


def execute(
    tracking: Tracking,
    work: Work,
    *,
    parent: str | None = None,
    label: str | None = None,
    lineage: Mapping[str, str] | None = None,
    refresh: bool = False,
    reuse: Reuse = "auto",
    progress: Progress = no_progress,
    phase: Callable[[str], None] = say_nothing,
    say: Callable[[str], None] = say_nothing,
    show: Show = no_show,
    watch: Watch = watch_nothing,
    opened: Callable[[str], None] | None = None,
) -> Reference:
    """Run a stage inside its own MLflow run and return the reference to its output.

    Two processes at the same key work one after the other: the second finds what the first made. `refresh`
    discards what is left of an earlier attempt and runs in any case; `reuse` says in which environment what
    is found must have been made.

    Raises what the stage raises; the MLflow run then says FAILED, or KILLED for an interruption.
    """
    stage, config, key = work.stage, work.config, work.key
    label = label or stage.name
    with _only_one(lock_path(tracking, key), label, phase):
        if not refresh and (found := find(tracking, work, reuse)):
            return found
        folder = tracking.work / key
        if refresh:
            shutil.rmtree(folder, ignore_errors=True)
        for name in (OUTPUT, AUXILIARY):  # of an attempt that died; its checkpoint is kept
            shutil.rmtree(folder / name, ignore_errors=True)
        _end_earlier_attempts(tracking, key)
        tags = {
            "mlflow.runName": label,
            **({"mlflow.parentRunId": parent} if parent else {}),
            "touchstone.stage": stage.name,
            "touchstone.version": str(stage.version),
            **(lineage or {}),
            "touchstone.key": key,
            ENVIRONMENT: compute.environment(config, work.fingerprints),
            **lock_tags(tracking, key),
        }
        mlflow_run = tracking.client.create_run(tracking.experiment_id, tags=tags)
        run = StageRun(
            out=folder / OUTPUT,
            auxiliary=folder / AUXILIARY,
            checkpoint=folder / "checkpoint",
            shared=tracking.work / "shared",
            tracking=tracking,
            run_id=mlflow_run.info.run_id,
            references=work.inputs,
            fingerprints=work.fingerprints,
            lineage=lineage or {},
            progress=progress,
            phase=phase,
            say=say,
            show=show,
            watch=watch,
        )
        with ending(tracking, run.run_id, run.flush, run.log_traceback):
            if opened:
                opened(run.run_id)
            log_params(tracking.client, run.run_id, changed_settings(config))
            folders = {}
            for name, reference in work.inputs.items():
                run.log_dataset(reference.stage, reference.digest, reference.uri, name)
                run.phase(f"checking the files of {reference.stage}")
                folders[name] = fetch(tracking, reference) / OUTPUT
            started = time.monotonic()
            run.phase("loading its libraries")
            entry = resolve_name(stage.entry)
            compute.verify(run.fingerprints, config)
            entry(config, run, **folders)
            write_json(run.auxiliary / CONFIG, config.model_dump(mode="json"))
            run.phase("keeping the output, and its digests")
            digest = publish(tracking, mlflow_run, folder)
            run.log_metrics({"seconds": time.monotonic() - started})
            run.flush()
            set_tags(tracking.client, run.run_id, {"touchstone.digest": digest})
        shutil.rmtree(folder)
    return Reference(
        stage=stage.name,
        run_id=run.run_id,
        key=key,
        digest=digest,
        uri=mlflow_run.info.artifact_uri,
    )


@contextmanager
def _only_one(path: Path, label: str, phase: Callable[[str], None]) -> Iterator[None]:
    with ExitStack() as lock_tags:
        try:
            lock_tags.enter_context(holding(path, timeout=0))
        except Timeout:
            phase(f"{label} is being run by another process; waiting for it")
            lock_tags.enter_context(holding(path))
        yield


def _end_earlier_attempts(tracking: Tracking, key: str) -> None:
    """End the runs that a killed process left RUNNING; whoever holds the key's lock knows they are dead."""
    for run in running(tracking, f"tags.`{LOCK}` = '{key}' AND tags.`{MACHINE}` = '{machine_of(tracking)}'"):
        end(tracking, run.info.run_id, "KILLED", KILLED)


def changed_settings(config: StageConfig) -> dict[str, Any]:
    """The settings that are not the defaults, by their dotted names; the page of a run shows these."""
    return flat(config.model_dump(mode="json", exclude_defaults=True))


def metrics_of(run: Run) -> dict[str, float]:
    """The numbers of a stage's run by the names that the stage gave them."""
    return {name.removeprefix(CURVES): value for name, value in run.data.metrics.items()}


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested configuration as dotted names: {"a": {"b": [1]}} becomes {"a.b.0": 1}."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {prefix: value}
    return {
        name: leaf
        for key, child in items
        for name, leaf in flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }
