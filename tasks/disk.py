"""Space on the disk: asked before writing, and explained when it ran out all the same."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import StageError

FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(folder: Path, needed: int, name: str) -> None:
    """Raise StageError unless the disk of `folder` has `needed` bytes free for `name`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StageError(
            f"{name} needs {needed} bytes in {folder}, and {free} are free. Make space and run again."
        )


@contextmanager
def writing(name: str, folder: Path) -> Iterator[None]:
    """Turn the OSError of a body that brings `name` into `folder` into a StageError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            free = shutil.disk_usage(folder).free
            raise StageError(
                f"the disk was full while {name} was written to {folder}: {free} bytes are free. "
                "Make space and run again."
            ) from error
        raise StageError(f"{name} cannot be brought into {folder}: {error}") from error
