"""Space on the disk: asked before writing, and explained when it ran out all the same."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import StageError, UsageError, causes

NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_IN_WORDS = (  # of SQLite, the kernel by way of safetensors, torch, and numpy
    "database or disk is full",
    "No space left on device",
    "PytorchStreamWriter failed",
    "iostream error",
    " requested and ",
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
    """Turn what a body raises that brings `name` into `folder` into a StageError: OSError, a full disk."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # libraries have their own for a full disk
        if _is_of_full_disk(error):
            free = shutil.disk_usage(folder).free
            raise StageError(
                f"the disk was full while {name} was written to {folder}: {free} bytes are free. "
                "Make space and run again."
            ) from error
        if isinstance(error, OSError):
            raise StageError(f"{name} cannot be brought into {folder}: {error}") from error
        raise


def _is_of_full_disk(error: BaseException) -> bool:
    in_words = isinstance(error, Exception) and any(words in str(error) for words in FULL_IN_WORDS)
    return in_words or (isinstance(error, OSError) and error.errno in FULL)


def explained(error: BaseException, folder: Path) -> BaseException:
    """A StageError about the disk of `folder` when that is what `error` came from, else `error` itself."""
    for cause in causes(error):
        if _is_of_full_disk(cause):
            free = shutil.disk_usage(folder).free
            return StageError(
                f"the disk of {folder} is full: {free} bytes are free. Make space and run again; unfinished "
                f"stages wait in {folder / 'work'}, and what is there may be deleted."
            )
    return error
