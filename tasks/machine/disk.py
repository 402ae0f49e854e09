"""Space on the disk: asked before writing, and explained when it ran out all the same."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import StageError, UsageError, causes

NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_IN_WORDS = (  # of SQLite, the kernel by way of safetensors, and torch
    "database or disk is full",
    "No space left on device",
    "PytorchStreamWriter failed",
    "iostream error",
)


def require_space(folder: Path, needed: int, name: str) -> None:
    """Raise StageError unless the disk of `folder` has `needed` bytes free for `name`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StageError(
            f"{name} needs {needed} bytes in {folder}, and {free} are free. Make space and run again."
        )


def not_ours(error: BaseException, root: Path) -> UsageError | None:
    """What to tell instead of an error of a folder that nothing may be written to; None for any other."""
    if not isinstance(error, OSError) or error.errno not in NOT_OURS:
        return None
    return UsageError(
        f"{root} cannot be written to: {error}. TOUCHSTONE_HOME names the folder that holds mlruns/"
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


def explained(error: BaseException, folder: Path) -> BaseException:
    """A StageError about the disk of `folder` when that is what `error` came from, else `error` itself."""
    for cause in causes(error):
        in_words = isinstance(cause, Exception) and any(words in str(cause) for words in FULL_IN_WORDS)
        if in_words or (isinstance(cause, OSError) and cause.errno in FULL):
            free = shutil.disk_usage(folder).free
            return StageError(
                f"the disk of {folder} is full: {free} bytes are free. Make space and run again; unfinished "
                f"stages wait in {folder / 'work'}, and what is there may be deleted."
            )
    return error
