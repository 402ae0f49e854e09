"""Locks between the processes of one machine, that leave no file behind.

Whoever holds a lock removes its file before letting go of it. A process that waits may by then have the
removed file open, and gets its lock; filelock then finds that no name leads to the file any more, and tries
again with the file that is there now. Nobody but the holder removes a file, so two can never hold one lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Timeout", "holding", "sweep_locks"]

SUFFIX = ".lock"


@contextmanager
def holding(path: Path | str, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of that file; wait `timeout` seconds for it, for ever if it is negative.

    Raises Timeout when it is still held then.
    """
    lock = FileLock(path)
    lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)
        lock.release()


def sweep_locks(folder: Path) -> None:
    """Remove the lock files in a folder that nobody holds: those of processes that were killed."""
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            with holding(path, timeout=0):
                pass
        except Timeout:
            continue
