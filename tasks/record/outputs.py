"""The files of a stage's output: published, verified and fetched, on this machine or a server elsewhere."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow.artifacts
from mlflow.entities import Run

from tasks.errors import StageError
from tasks.machine.locks import holding
from tasks.machine.scarcity import require_no_want
from tasks.record import manifest
from tasks.record.tracking import Tracking, local_folder, set_tags
from tasks.record.work import Reference

OUTPUT, AUXILIARY = "output", "auxiliary"
CONFIG = "config.json"  # among the auxiliary files: what the stage was configured with
DAMAGED = "touchstone.damaged"  # tag of a run whose files on the server are not what it recorded


def fault(tracking: Tracking, reference: Reference) -> str | None:
    """What is wrong with the files behind a reference, or None."""
    if folder := local_folder(reference.uri):
        return manifest.fault_in(folder, reference.digest) or _fault_auxiliary(folder)
    return _fault_on_server(tracking, reference)


def _fault_auxiliary(folder: Path) -> str | None:
    try:
        sizes = json.loads((folder / f"{AUXILIARY}.json").read_bytes()).items()
    except (OSError, ValueError, AttributeError) as error:
        require_no_want(error, str(folder / f"{AUXILIARY}.json"))
        return f"{folder / AUXILIARY}.json cannot be read: {error}"
    for name, size in sizes:
        path = folder / AUXILIARY / name
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
            yield entry.path, entry.file_size or 0  # MLflow tells none for an empty file


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
    with holding(f"{folder}.lock"):
        if manifest.fault_in(folder, reference.digest) is None:
            os.utime(folder)  # the time of its last use, which `touchstone clean` asks
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


def read_auxiliary(reference: Reference, name: str) -> str:
    """A text file from beside an output, which `fetch` does not bring along."""
    if folder := local_folder(reference.uri):
        return (folder / AUXILIARY / name).read_text(encoding="utf-8")
    return mlflow.artifacts.load_text(f"{reference.uri}/{AUXILIARY}/{name}")


def read_config(reference: Reference) -> str:
    """The settings that an output was made with, as JSON."""
    return read_auxiliary(reference, CONFIG)


def publish(tracking: Tracking, run: Run, work: Path) -> str:
    """Put the files where the run's artifacts are, the manifest last, and return its digest."""
    listing = manifest.describe_files(work, OUTPUT)
    asides = {
        name: (work / AUXILIARY / name).stat().st_size for name in manifest.files_under(work / AUXILIARY)
    }
    if folder := local_folder(run.info.artifact_uri):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (OUTPUT, AUXILIARY):
            shutil.move(work / name, folder / name)  # a rename: both are under mlruns/
        manifest.write_atomically(folder / f"{AUXILIARY}.json", manifest.canonical_json(asides))
        manifest.write_atomically(folder / manifest.MANIFEST, listing)
    else:
        client, run_id = tracking.client, run.info.run_id
        for name in (OUTPUT, AUXILIARY):
            client.log_artifacts(run_id, str(work / name), artifact_path=name)
        client.log_text(run_id, manifest.canonical_json(asides).decode(), f"{AUXILIARY}.json")
        client.log_text(run_id, listing.decode(), manifest.MANIFEST)
    return manifest.digest_of(listing)
