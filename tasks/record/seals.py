"""Whether a file is what was written. Its length and its SHA-256 tell, and nothing else does.

An error while a file is read (no memory, no file handle, no right, a disk or a library that fails) says
nothing about the file: it stops whoever reads, and the file stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TypedDict

from tasks.errors import StageError
from tasks.machine.digests import read_sha256
from tasks.machine.scarcity import unreadable


class Seal(TypedDict):
    """What a file is known by, whenever it is read again."""

    size: int
    sha256: str


def seal(path: Path) -> Seal:
    return {"size": path.stat().st_size, "sha256": read_sha256(path)}


def damage(path: Path, *seals: Seal) -> str | None:
    """What shows that the file is none of those that were sealed, or None.

    Raises StageError when it cannot be read.
    """
    with reading(str(path)):
        try:
            size = path.stat().st_size
            fitting = [sealed["sha256"] for sealed in seals if sealed["size"] == size]
            if not fitting:
                return f"it has {size:,} bytes instead of {seals[-1]['size']:,}"
            if read_sha256(path) not in fitting:
                return "its SHA-256 is not that of what was written"
        except FileNotFoundError:
            return "it is missing"
    return None


def listed(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder under such names, by name. Raises StageError when it cannot be told.

    `Path.glob` takes a folder that it may not read for an empty one.
    """
    with reading(str(folder)):
        return sorted(path for path in folder.iterdir() if fnmatch(path.name, pattern))


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise as StageError whatever goes wrong inside, where `what` is read."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:
        raise unreadable(error, what) from error
