"""The stage record: one idea that carries caching, lineage, resume and hand-over.

A stage is (name, version, config, inputs). The SHA-256 of the canonical JSON of those is its key. Its
outputs are the files of an MLflow run, complete once their manifest is there:

    manifest.json     every file under output/, with size and SHA-256; written last
    output/           what the next stages read; the same work gives the same bytes
    aside/            times, speeds, host names, pictures: kept, but not part of the digest
    aside.json        the names and sizes of those

A finished run with the same key whose files are all there, unaltered, is a hit. A stage that dies leaves
`mlruns/work/<key>/`, from which the next attempt continues.
"""

import json
import re
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from posixpath import normpath
from typing import Any, Protocol

import mlflow.artifacts
from filelock import FileLock, Timeout
from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from pydantic import BaseModel, ConfigDict

from tasks import manifest
from tasks.config import StageConfig
from tasks.errors import StageError, TouchstoneError
from tasks.tracking import TAG_NAME_LIMIT, MetricBuffer, Tracking, local_folder, log_params, set_tags

OUTPUT, ASIDE = "output", "aside"
DAMAGED = "touchstone.damaged"  # tag of a run whose files on the server are not what it recorded


class Reference(BaseModel):
    """What crosses a stage boundary: a few strings, never a tensor, a table or a path of one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    run_id: str
    key: str
    digest: str
    uri: str


@dataclass(frozen=True)
class Stage:
    """A kind of work. `version` is raised when its meaning changes, which makes every old record a miss."""

    name: str
    version: int
    entry: str
    """`module:function`, imported only when there is work to do: finding a hit must not import torch.

    Called as `function(config, run, **inputs)`, each input the folder of an upstream output.
    """
    holds: str | None = None
    """`module:function` for a stage with an effect beyond its files: `function(tracking, output)` says
    whether that effect is still there. When it is not, the record is a miss."""


class Progress(Protocol):
    """Who wants to know how far a stage is."""

    def __call__(self, done: float, total: float, unit: str, note: str) -> None: ...


def no_progress(done: float, total: float, unit: str, note: str) -> None:
    """For callers that do not watch."""


def stage_key(stage: Stage, config: StageConfig, inputs: Mapping[str, str]) -> str:
    """SHA-256 of what decides the stage's result; `inputs` are digests of upstream outputs by name."""
    value = {
        "stage": stage.name,
        "version": stage.version,
        "config": config.key_fields(),
        "inputs": dict(inputs),
    }
    return manifest.digest_of(manifest.canonical_json(value))


@dataclass
class StageRun:
    """What a running stage is given: folders to write to, and a way to report numbers and progress."""

    out: Path
    """Files that are the result."""
    aside: Path
    """Files about this run of it: times, speeds, pictures."""
    checkpoint: Path
    """Files from which a later attempt at the same key continues; gone once the stage is done."""
    tracking: Tracking | None = None
    run_id: str | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)
    """The records behind the inputs, by input name."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """What made this run: the code's commit, the flow run."""
    progress: Progress = no_progress
    metrics: dict[str, float] = field(default_factory=dict)
    _buffer: MetricBuffer | None = None

    def __post_init__(self) -> None:
        for folder in (self.out, self.aside, self.checkpoint):
            folder.mkdir(parents=True, exist_ok=True)
        if self.tracking and self.run_id:
            self._buffer = MetricBuffer(self.tracking.client, self.run_id)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers of one step; the last value of each name is the stage's."""
        self.metrics.update(values)
        if self._buffer:
            self._buffer.add(values, step)

    def log_dataset(self, name: str, digest: str, source: str, context: str, **profile: object) -> None:
        """Record a dataset as an input of this run; a tag keeps what MLflow cuts from the digest."""
        if self.tracking and self.run_id:
            _log_dataset(self.tracking, self.run_id, name, digest, source, context, profile)

    def log_table(self, rows: list[dict[str, Any]], name: str) -> None:
        """Show rows as a table in MLflow's UI."""
        if self.tracking and self.run_id and rows:
            columns = {column: [row.get(column) for row in rows] for column in rows[0]}
            self.tracking.client.log_table(self.run_id, columns, name)

    def flush(self) -> None:
        if self._buffer:
            self._buffer.flush()


def _log_dataset(
    tracking: Tracking,
    run_id: str,
    name: str,
    digest: str,
    source: str,
    context: str,
    profile: Mapping[str, object],
) -> None:
    dataset = Dataset(
        name=name,
        digest=digest[:36],
        source_type="touchstone",
        source=json.dumps({"uri": source, "sha256": digest}),
        profile=json.dumps(profile) if profile else None,
    )
    tags = [InputTag("mlflow.data.context", context)]
    tracking.client.log_inputs(run_id, [DatasetInput(dataset, tags)])
    tag = re.sub(r"[^\w./ -]", "_", f"touchstone.dataset.{context}.{name}")  # what MLflow allows in a name
    set_tags(tracking.client, run_id, {normpath(tag[:TAG_NAME_LIMIT]): digest})


# Finding what was done before


def find(tracking: Tracking, stage: Stage, key: str) -> Reference | None:
    """The newest finished run with this key whose files are all there, unaltered; None is a miss."""
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.key` = '{key}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        reference = _reference(run)
        if reference and fault(tracking, reference) is None and _holds(tracking, stage, reference):
            return reference
    return None


def _holds(tracking: Tracking, stage: Stage, reference: Reference) -> bool:
    if stage.holds is None:
        return True
    try:
        return resolve_name(stage.holds)(tracking, fetch(tracking, reference) / OUTPUT)
    except StageError:  # the files were altered on a server in a way that only fetching them shows
        return False


def _reference(run: Run) -> Reference | None:
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


def fault(tracking: Tracking, reference: Reference) -> str | None:
    """What is wrong with the files behind a reference, or None."""
    if folder := local_folder(reference.uri):
        return manifest.fault_in(folder, reference.digest) or _fault_aside(folder)
    return _fault_on_server(tracking, reference)


def _fault_aside(folder: Path) -> str | None:
    try:
        sizes = json.loads((folder / f"{ASIDE}.json").read_bytes()).items()
    except (OSError, ValueError, AttributeError) as error:
        return f"{folder / ASIDE}.json cannot be read: {error}"
    for name, size in sizes:
        path = folder / ASIDE / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{path} is missing or has another size"
    return None


def _fault_on_server(tracking: Tracking, reference: Reference) -> str | None:
    """Sizes are compared on the server; the bytes are hashed when they are fetched."""
    try:
        text = mlflow.artifacts.load_text(f"{reference.uri}/{manifest.MANIFEST}")
        sizes = dict(_sizes_on_server(tracking, reference.run_id, OUTPUT))
    except Exception as error:  # every artifact store has its own exceptions; any of them is a miss
        return f"{reference.uri} cannot be read: {error}"
    if manifest.digest_of(text.encode()) != reference.digest:
        return f"{reference.uri}/{manifest.MANIFEST} is not the manifest that was recorded"
    expected = {name: entry["size"] for name, entry in json.loads(text)["files"].items()}
    wrong = [name for name, size in expected.items() if sizes.get(name) != size]
    return f"{reference.uri}/{wrong[0]} is missing or has another size" if wrong else None


def _sizes_on_server(tracking: Tracking, run_id: str, path: str) -> Iterator[tuple[str, int]]:
    for entry in tracking.client.list_artifacts(run_id, path):
        if entry.is_dir:
            yield from _sizes_on_server(tracking, run_id, entry.path)
        else:
            yield entry.path, entry.file_size


def fetch(tracking: Tracking, reference: Reference) -> Path:
    """The artifact folder behind a reference on this machine, downloaded once a digest if it is elsewhere.

    Raises StageError when the files are gone or altered.
    """
    if folder := local_folder(reference.uri):
        if fault := manifest.fault_in(folder, reference.digest):
            raise StageError(
                f"the output of {reference.stage} cannot be used: {fault}. Run again to remake it."
            )
        return folder
    folder = tracking.work / "downloads" / reference.digest
    with FileLock(f"{folder}.lock"):
        if manifest.fault_in(folder, reference.digest) is None:
            return folder
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in (OUTPUT, manifest.MANIFEST):
            mlflow.artifacts.download_artifacts(f"{reference.uri}/{name}", dst_path=str(part))
        if fault := manifest.fault_in(part, reference.digest):
            set_tags(tracking.client, reference.run_id, {DAMAGED: fault})  # no hit from now on
            raise StageError(
                f"the output of {reference.stage} arrived damaged: {fault}. Run again to remake it."
            )
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    return folder


# Doing it


def execute(
    tracking: Tracking,
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Reference],
    *,
    fingerprints: Mapping[str, str] | None = None,
    parent: str | None = None,
    label: str | None = None,
    lineage: Mapping[str, str] | None = None,
    refresh: bool = False,
    progress: Progress = no_progress,
) -> Reference:
    """Run a stage inside its own MLflow run and return the reference to its output.

    `fingerprints` are digests of inputs that are no stage's output (a local file, say). Two processes at
    the same key work one after the other: the second finds what the first made. `refresh` discards what
    is left of an earlier attempt and runs in any case.

    Raises what the stage raises; the MLflow run then says FAILED, or KILLED for an interruption.
    """
    digests = {name: reference.digest for name, reference in inputs.items()} | dict(fingerprints or {})
    key = stage_key(stage, config, digests)
    label = label or stage.name
    with _only_one(tracking.work / f"{key}.lock", label, progress):
        if not refresh and (found := find(tracking, stage, key)):
            return found
        work = tracking.work / key
        if refresh:
            shutil.rmtree(work, ignore_errors=True)
        for name in (OUTPUT, ASIDE):  # of an attempt that died; its checkpoint is kept
            shutil.rmtree(work / name, ignore_errors=True)
        _bury_the_dead(tracking, key)
        tags = {
            "mlflow.runName": label,
            "touchstone.stage": stage.name,
            "touchstone.key": key,
            "touchstone.version": str(stage.version),
            **({"mlflow.parentRunId": parent} if parent else {}),
            **(lineage or {}),
        }
        mlflow_run = tracking.client.create_run(tracking.experiment_id, tags=tags)
        run = StageRun(
            out=work / OUTPUT,
            aside=work / ASIDE,
            checkpoint=work / "checkpoint",
            tracking=tracking,
            run_id=mlflow_run.info.run_id,
            references=inputs,
            lineage=lineage or {},
            progress=progress,
        )
        with _ending(tracking, run):
            log_params(tracking.client, run.run_id, flat(config.model_dump(mode="json")))
            folders = {}
            for name, reference in inputs.items():
                run.log_dataset(reference.stage, reference.digest, reference.uri, name)
                folders[name] = fetch(tracking, reference) / OUTPUT
            started = time.monotonic()
            resolve_name(stage.entry)(config, run, **folders)
            _write_json(run.aside / "config.json", config.model_dump(mode="json"))
            digest = _publish(tracking, mlflow_run, work)
            run.log_metrics({"seconds": time.monotonic() - started})
            run.flush()
            set_tags(tracking.client, run.run_id, {"touchstone.digest": digest})
        shutil.rmtree(work)
    return Reference(
        stage=stage.name,
        run_id=run.run_id,
        key=key,
        digest=digest,
        uri=mlflow_run.info.artifact_uri,
    )


@contextmanager
def _only_one(path: Path, label: str, progress: Progress) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(0, 1, "", f"{label} is being run by another process; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _bury_the_dead(tracking: Tracking, key: str) -> None:
    """End the runs that a killed process left RUNNING; whoever holds the key's lock knows they are dead."""
    running = f"tags.`touchstone.key` = '{key}' AND attributes.status = 'RUNNING'"
    for run in tracking.client.search_runs([tracking.experiment_id], running):
        set_tags(tracking.client, run.info.run_id, {"touchstone.error": "the process was killed"})
        tracking.client.set_terminated(run.info.run_id, "KILLED")


@contextmanager
def _ending(tracking: Tracking, run: StageRun) -> Iterator[None]:
    """Give the MLflow run the end that its body had, with the reason."""
    try:
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        run.flush()
        set_tags(tracking.client, run.run_id, {"touchstone.error": str(error)[:5000] or type(error).__name__})
        if isinstance(error, Exception) and not isinstance(error, TouchstoneError):
            tracking.client.log_text(run.run_id, traceback.format_exc(), "traceback.txt")
        tracking.client.set_terminated(run.run_id, status)
        raise
    tracking.client.set_terminated(run.run_id, "FINISHED")


def _publish(tracking: Tracking, run: Run, work: Path) -> str:
    """Put the files where the run's artifacts are, the manifest last, and return its digest."""
    listing = manifest.describe_files(work, OUTPUT)
    asides = {name: (work / ASIDE / name).stat().st_size for name in manifest.files_under(work / ASIDE)}
    if folder := local_folder(run.info.artifact_uri):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (OUTPUT, ASIDE):
            shutil.move(work / name, folder / name)  # a rename: both are under mlruns/
        manifest.write_atomically(folder / f"{ASIDE}.json", manifest.canonical_json(asides))
        manifest.write_atomically(folder / manifest.MANIFEST, listing)
    else:
        client, run_id = tracking.client, run.info.run_id
        for name in (OUTPUT, ASIDE):
            client.log_artifacts(run_id, str(work / name), artifact_path=name)
        client.log_text(run_id, manifest.canonical_json(asides).decode(), f"{ASIDE}.json")
        client.log_text(run_id, listing.decode(), manifest.MANIFEST)
    return manifest.digest_of(listing)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
