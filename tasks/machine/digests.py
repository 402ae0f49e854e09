"""The SHA-256 of files. Of a large one it is kept on this machine, as long as the file stays as it is.

A corpus or a model of gigabytes is asked about by every look-up of every command. Any write, rename or copy
gives a file another inode, size or time of its last change, which no program can set; its digest is then made
anew.
"""

import hashlib
import os
import re
import time
from functools import lru_cache
from pathlib import Path

from tasks.machine.home import home

LARGE = 2**20  # bytes, from which on reading the file costs more than looking its digest up
KEPT = Path("mlruns", "work", "digests.txt")
LINE = re.compile(r"((?:\d+ ){5})([0-9a-f]{64})")
SETTLED = 10**8  # ns; file systems note times to a few milliseconds
MOST = 10_000  # digests that are kept; a full file is begun anew

State = tuple[int, ...]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes; a large file that is as it was when they were last read is not read."""
    before = path.stat()
    if before.st_size < LARGE:
        return read_sha256(path)
    state, kept = _state(before), home() / KEPT
    if kept.exists() and (found := _known(kept, _state(kept.stat())).get(state)):
        return found
    digest = read_sha256(path)
    # A write since would show in the times, unless it came within what they are exact to.
    if _state(path.stat()) == state and time.time_ns() - before.st_ctime_ns > SETTLED:
        _keep(kept, state, digest)
    return digest


def read_sha256(path: Path) -> str:
    """The SHA-256 of the bytes that a file holds now, whatever is known of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=1)
def _known(kept: Path, _state_of_kept: State) -> dict[State, str]:
    """What is kept; a line that a kill cut short or two processes wrote into each other says nothing."""
    known: dict[State, str] = {}
    for line in kept.read_text(encoding="utf-8", errors="replace").splitlines():
        if written := LINE.fullmatch(line):
            known[tuple(map(int, written[1].split()))] = written[2]
    return known


def _keep(kept: Path, state: State, digest: str) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    full = kept.exists() and kept.stat().st_size > MOST * 150
    with kept.open("w" if full else "a", encoding="utf-8") as file:
        file.write(f"{' '.join(map(str, state))} {digest}\n")
