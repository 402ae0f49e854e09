"""Files and their digests: what makes an output whole, and how that is known later.

`manifest.json` lists every file of an output with its size and SHA-256, and is written last: an output
without one never existed. Its own SHA-256 is the output's digest.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import StageError
from tasks.machine.digests import sha256_of
from tasks.machine.scarcity import require_no_want

MANIFEST = "manifest.json"


def canonical_json(value: Any) -> bytes:
    """The one way to write a JSON value: keys sorted, no spaces, UTF-8; NaN is refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_of_tree(path: Path) -> str:
    """Digest of a file's bytes, or of a folder's file names and bytes, whatever the folder is called."""
    if path.is_file():
        return sha256_of(path)
    return sha256_of_files({name: sha256_of(path / name) for name in files_under(path)})


def sha256_of_files(digests: dict[str, str]) -> str:
    """Digest of a folder whose files, by name, have these digests."""
    return hashlib.sha256(canonical_json(digests)).hexdigest()


def require_unaltered(what: str, path: Path, digest: str | None) -> None:
    """Raise StageError when a file or folder that was just read is not what its digest was taken of.

    `digest` stands in the key of the stage, None when nothing of the path does. Of large files that nobody
    has touched it costs nothing to ask.
    """
    if digest is not None and (found := sha256_of_tree(path)) != digest:
        raise StageError(
            f"{what}: {path.absolute()} was altered since its SHA-256 was taken: it is {found} instead of "
            f"{digest}. Run again once nothing writes to it."
        )


def files_under(folder: Path) -> Iterator[str]:
    """Every file below `folder`, as sorted POSIX paths relative to it."""
    return iter(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even across a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def describe_files(root: Path, folder: str) -> bytes:
    """The manifest of everything under `root/folder`, its paths relative to `root`."""
    files = {
        f"{folder}/{name}": {"sha256": sha256_of(path), "size": path.stat().st_size}
        for name in files_under(root / folder)
        for path in [root / folder / name]
    }
    return canonical_json({"files": files})


def digest_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def fault_in(root: Path, digest: str) -> str | None:
    """What is wrong with the output in `root`, or None when every listed file is there and unaltered.

    `digest` is the recorded one: whatever else stands in the manifest's place is never parsed. Raises
    StageError when it cannot be read for want of memory, file handles or rights.
    """
    try:
        manifest = (root / MANIFEST).read_bytes()
        if digest_of(manifest) != digest:
            return f"{root / MANIFEST} is not the manifest that was recorded"
        return _fault_in_files(root, json.loads(manifest)["files"])
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except OSError as error:
        require_no_want(error, str(root))
        return f"{root} cannot be read: {error}"


def _fault_in_files(root: Path, files: dict[str, dict[str, Any]]) -> str | None:
    """Sizes first: a truncated file is found without reading the others."""
    for name, expected in files.items():
        path = root / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{path} has {path.stat().st_size} bytes instead of {expected['size']}"
    for name, expected in files.items():
        if sha256_of(root / name) != expected["sha256"]:
            return f"{root / name} was altered: its SHA-256 is no longer {expected['sha256']}"
    return None
