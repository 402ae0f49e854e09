"""The download stage: every source whole, verified and under its final name, or one error that says why.

A source is brought into a part in the checkpoint folder first, so that a later attempt continues from it;
once all of them are there, each is renamed into the output.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from tasks.config import DownloadConfig, Source
from tasks.download.http import AddressError, PartialFile, download_file, fault_in
from tasks.download.hub import dataset_rows, json_lines, made_rows, written_lines
from tasks.errors import StageError, UnreachableError, UsageError
from tasks.machine.digests import sha256_of
from tasks.machine.disk import FULL, require_space, writing
from tasks.machine.unzip import unzip
from tasks.record.manifest import digest_of, files_under, sha256_of_files, sha256_of_tree

if TYPE_CHECKING:  # MLflow takes a second to import, and fingerprints are asked for without it
    from tasks.record.stage import Progress, StageRun

log = logging.getLogger(__name__)

PROGRESS_EVERY = 0.2  # seconds
COPIED_AT_ONCE = 2**20  # bytes


class Meter:
    """Reports the bytes of one file, at most every `PROGRESS_EVERY` seconds; a total of 0 is not known."""

    def __init__(self, progress: "Progress", name: str) -> None:
        self._progress = progress
        self._name = name
        self._next = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() >= self._next or done == total:
            self._progress(done, total or 0, "bytes", self._name)
            self._next = time.monotonic() + PROGRESS_EVERY


# What the configuration only points to


def fingerprints(config: DownloadConfig) -> dict[str, str]:
    """Digests, by source name, of the content that `config` points to but does not fix.

    A file or folder of this machine and made text give their SHA-256; an address or a data set without a
    `sha256` gives that of the mirror folder's file, else an address gives itself. Raises UsageError when a
    path or the mirror folder is not there or cannot be read.
    """
    mirror = _mirror_folder(config)
    found = {}
    for source in config.sources:
        try:
            fingerprint = _fingerprint(source, mirror)
        except OSError as error:
            raise UsageError(
                f"source {source.name!r} cannot be read: {error}. Make it readable, or name another path."
            ) from error
        if fingerprint is not None:
            found[source.name] = fingerprint
    return found


def _fingerprint(source: Source, mirror: Path | None) -> str | None:
    if source.path is not None:
        return sha256_of_tree(_checked_path(source))
    if source.made:
        return digest_of(b"".join(json_lines(made_rows(source), source.name)))
    if source.sha256 is not None:
        return None
    if file := _file_in(mirror, source.name):
        return sha256_of(file)
    return f"address:{source.urls[0]}" if source.urls else None


def _mirror_folder(config: DownloadConfig) -> Path | None:
    """The mirror, when it is a folder; raises UsageError when it is neither a folder nor an address."""
    if config.mirror is None or config.mirror.startswith(("http://", "https://")):
        return None
    folder = Path(config.mirror)
    if not folder.is_dir():
        raise UsageError(
            f"the mirror {config.mirror} is neither a folder that exists nor an http(s) address. Correct it."
        )
    return folder


def _file_in(mirror: Path | None, name: str) -> Path | None:
    if mirror is None:
        return None
    candidates = (mirror / name, mirror / PurePosixPath(name).name)
    return next((file for file in candidates if file.is_file()), None)


def _checked_path(source: Source) -> Path:
    """The source's file or folder; raises UsageError when it cannot be taken as it is."""
    path = source.path
    if not path.is_file() and not path.is_dir():
        found = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise UsageError(f"source {source.name!r}: {path.absolute()} {found}. Correct the path.")
    if path.is_dir() and source.unzip:
        raise UsageError(f"source {source.name!r}: {path} is a folder already; set unzip: false.")
    for link in path.rglob("*"):  # of a file, nothing
        if not link.is_symlink():
            continue
        if not link.is_file() or not link.resolve().is_relative_to(path.resolve()):
            raise UsageError(
                f"source {source.name!r}: {link} is a link to a folder, out of {path}, or to nothing. "
                "Replace it by what it should stand for."
            )
    return path


# The stage


def download(config: DownloadConfig, run: "StageRun") -> None:
    """Bring every source to `run.out / source.name`; a zip archive becomes the folder of its name.

    Raises UsageError for a path, mirror or name that is wrong, and StageError when a source cannot be had;
    no output is there then which is not whole.
    """
    mirror = _mirror_folder(config)
    targets = _targets(config, run.out)
    brought = [_bring(source, config, mirror, run) for source in config.sources]
    for source, (origin, digest), target in zip(config.sources, brought, targets, strict=True):
        _place(source, origin, digest, target, run)
    files = [run.out / name for name in files_under(run.out)]
    run.log_metrics({"bytes": sum(file.stat().st_size for file in files), "files": len(files)})


def _targets(config: DownloadConfig, out: Path) -> list[Path]:
    targets: dict[Path, str] = {}
    for source in config.sources:
        name = PurePosixPath(source.name)
        if source.unzip and name.suffix.lower() == ".zip":
            name = name.with_suffix("")
        target = out / name
        for other, other_name in targets.items():
            if target.is_relative_to(other) or other.is_relative_to(target):
                raise UsageError(
                    f"the sources {other_name!r} and {source.name!r} would be in each other's place. "
                    "Give one of them another name."
                )
        targets[target] = source.name
    return list(targets)


def _part(source: Source, run: "StageRun") -> PartialFile:
    safe_name = source.name.replace("%", "%25").replace("/", "%2F")
    return PartialFile(run.checkpoint / f"{safe_name}.part")


def _bring(
    source: Source, config: DownloadConfig, mirror: Path | None, run: "StageRun"
) -> tuple[str, str | None]:
    """Bring a source, whole and verified, into its part; returns where it came from.

    And its digest, where it was made on the way.
    """
    part = _part(source, run)
    try:
        with writing(source.name, run.checkpoint):
            if source.urls:
                meter = Meter(run.progress, source.name)
                return _from_addresses(source, config, mirror, part, meter), source.sha256
            part.discard()
            if source.path is not None:
                return _from_path(source, part.path, run)
            return _from_rows(source, config, mirror, part.path, run), source.sha256
    except StageError:
        if not source.urls or not part.resumable(source):
            part.discard()
        raise


def _place(source: Source, origin: str, digest: str | None, target: Path, run: "StageRun") -> None:
    """Give a part its final name, and log what it was."""
    part = _part(source, run)
    content = part.path
    if digest is None:
        run.phase(f"hashing {source.name}")
        digest = sha256_of_tree(content)
    if not source.dataset:  # of one a mirror's file has the fingerprint, not the rows taken from it
        _require_as_fingerprinted(source, origin, digest, run, part)
    with writing(source.name, run.out):
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.unzip:
            run.phase(f"unpacking {source.name}")
            content = part.path.with_suffix(".unzipped")
            try:
                unzip(part.path, content, source.name)
            finally:
                part.discard()  # kept, a bad archive would be found complete by every later attempt
        content.replace(target)
        part.discard()
    files = [target / name for name in files_under(target)] or [target]
    size = sum(file.stat().st_size for file in files)
    run.progress(size, size, "bytes", source.name)
    run.log_dataset(source.name, digest, origin, "source", bytes=size, files=len(files))


# From a mirror and addresses


def _from_addresses(
    source: Source, config: DownloadConfig, mirror: Path | None, part: PartialFile, meter: Meter
) -> str:
    if part.complete(source):
        return str(part.note["address"])
    faults, transient = [], False
    if mirror:
        file = _file_in(mirror, source.name)
        fault = _copy_from_mirror(file, part, source) if file else "holds no such file"
        if file and fault is None:
            return file.absolute().as_uri()
        faults.append(f"{file or mirror}: {fault}")
    for address in _addresses(source, config, mirror):
        try:
            download_file(
                address, part, source, timeout=config.timeout, attempts=config.attempts, report=meter
            )
        except AddressError as error:
            faults.append(f"{address}: {error}")
            transient = transient or error.transient
        else:
            return address
    lines = "\n".join(f"  {fault}" for fault in faults)
    raise (UnreachableError if transient else StageError)(
        f"{source.name} could not be downloaded:\n{lines}\n"
        "Check the network, or pass --mirror DIR_OR_URL with a folder or base address that has the file."
    )


def _addresses(source: Source, config: DownloadConfig, mirror: Path | None) -> list[str]:
    if config.mirror is None or mirror:
        return list(source.urls)
    return [f"{config.mirror.rstrip('/')}/{quote(source.name)}", *source.urls]


def _copy_from_mirror(file: Path, part: PartialFile, source: Source) -> str | None:
    """Copy and verify; what is wrong with the mirror's file, or None."""
    size = file.stat().st_size
    require_space(part.path.parent, size, source.name)
    part.begin(file.absolute().as_uri(), total=size)
    try:
        shutil.copyfile(file, part.path)
        fault = fault_in(part.path, source)
    except OSError as error:
        if error.errno in FULL:
            raise
        fault = f"cannot be read: {error}"
    if fault:
        part.discard()
    return fault


# From this machine


def _from_path(source: Source, part: Path, run: "StageRun") -> tuple[str, str]:
    """Copy a file or folder; its digest is that of the bytes that were copied."""
    path = _checked_path(source)
    names = list(files_under(path)) if path.is_dir() else [""]
    sizes = {name: (path / name).stat().st_size for name in names}
    require_space(part.parent, sum(sizes.values()), source.name)
    meter, done, digests = Meter(run.progress, source.name), 0, {}
    for name in names:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        digests[name] = _copied(path / name, part / name)
        done += sizes[name]
        meter(done, sum(sizes.values()))
    digest = sha256_of_files(digests) if path.is_dir() else digests[""]
    origin = str(path.absolute())
    if not digests:
        _require_none("is an empty folder", source, origin)
    elif path.is_dir() and source.sha256 not in (None, digest):
        what = f"has, as a folder, the SHA-256 {digest} instead of {source.sha256}"
        _require_none(what, source, origin)
    elif path.is_file():
        _require_none(fault_in(part, source, digest), source, origin)
    return path.absolute().as_uri(), digest


def _require_as_fingerprinted(
    source: Source, origin: str, digest: str, run: "StageRun", part: PartialFile
) -> None:
    """Raise StageError for content that is not what stands in the key, and discard the part with it.

    An address stands there by itself, and no file that a mirror has got since is taken for it.
    """
    expected = run.fingerprints.get(source.name, digest)
    of_address = expected.startswith("address:") and not origin.startswith("file:")
    if expected == digest or of_address:
        return
    part.discard()
    raise StageError(
        f"{source.name}: {origin} was altered since its SHA-256 was taken: {digest} was copied instead of "
        f"{expected}. Run again once nothing writes to it."
    )


def _copied(source: Path, target: Path) -> str:
    """Copy a file; returns the SHA-256 of the bytes that were copied."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(COPIED_AT_ONCE):
            digest.update(block)
            written.write(block)
    return digest.hexdigest()


def _require_none(fault: str | None, source: Source, origin: str) -> None:
    if fault:
        raise StageError(f"{source.name} from {origin} {fault}. Correct the source, or what it expects.")


# Rows: made here, or of a Hugging Face data set


def _from_rows(
    source: Source, config: DownloadConfig, mirror: Path | None, part: Path, run: "StageRun"
) -> str:
    """Write the rows, or the first `source.rows` of them, as JSON Lines; fewer are taken with a warning."""
    meter, done, count = Meter(run.progress, source.name), 0, 0
    lines, origin = _lines(source, config, mirror, run)
    with part.open("wb") as file:
        for line in islice(lines, source.rows):
            done += file.write(line)
            count += 1
            meter(done, source.size)
    _require_none(fault_in(part, source), source, origin)
    if source.rows is not None and count < source.rows:
        log.warning("%s from %s has %d rows; %d were asked for", source.name, origin, count, source.rows)
    return origin


def _lines(
    source: Source, config: DownloadConfig, mirror: Path | None, run: "StageRun"
) -> tuple[Iterator[bytes], str]:
    """The lines of JSON, as they are asked for, and where they come from."""
    if source.made:
        return json_lines(made_rows(source), source.name), f"made:{source.made}"
    if file := _file_in(mirror, source.name):
        whole, origin = (
            PartialFile(run.checkpoint / f"{_part(source, run).path.name}.mirror"),
            file.absolute().as_uri(),
        )
        _require_as_fingerprinted(source, origin, _copied(file, whole.path), run, whole)
        return written_lines(whole.path), origin
    if source.name in run.fingerprints:
        raise StageError(f"{source.name}: the mirror {mirror} had a file of it and has none now. Run again.")
    if config.mirror and not mirror:
        (address,) = _addresses(source, config, mirror)
        whole = PartialFile(run.checkpoint / f"{_part(source, run).path.name}.mirror")
        bare = source.model_copy(update={"sha256": None, "size": None})  # those are of the rows taken from it
        meter = Meter(run.progress, source.name)
        try:
            download_file(
                address, whole, bare, timeout=config.timeout, attempts=config.attempts, report=meter
            )
        except AddressError as error:
            log.warning("%s: %s; the Hugging Face Hub is asked instead", address, error)
        else:
            return written_lines(whole.path), address
    origin = f"hf:{source.dataset}" + (f"@{source.revision}" if source.revision else "")
    return json_lines(dataset_rows(source), source.name), origin
