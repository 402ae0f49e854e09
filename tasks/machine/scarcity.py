"""Want of memory, of file handles, of rights: a reading that fails for it says nothing about the file."""

import errno

from tasks.errors import StageError

_WANTING = {
    errno.ENOMEM: "memory",
    errno.EMFILE: "file handles (ulimit -n)",
    errno.ENFILE: "file handles of the machine",
    errno.EACCES: "the right to read it",
    errno.EPERM: "the right to read it",
    errno.EAGAIN: "memory or processes",
    errno.ETIMEDOUT: "an answer from the file server",
    errno.ESTALE: "an answer from the file server",
}
_IN_WORDS = (  # of torch, and of the system's loader
    "allocate memory",
    "failed to map segment",
    "not enough memory",
    "out of memory",
    "Too many open files",
)


def wanting(error: BaseException) -> str | None:
    """What the machine lacked when this error was raised; None when the error is of another kind."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in _WANTING:
        return _WANTING[error.errno]
    if isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _IN_WORDS):
        return "memory or file handles"
    return None


def require_no_want(error: BaseException, what: str) -> None:
    """Raise StageError when `what` could not be read for want of something; nothing of it is damaged then."""
    if wanting(error):
        raise unreadable(error, what) from error


def unreadable(error: BaseException, what: str) -> StageError:
    """Why `what` could not be read, in words: an error while it is read does not mean that it is damaged."""
    told = " ".join(str(error).split("\n", 1)[0].split())
    if lacked := wanting(error):
        return StageError(
            f"{what} could not be read for want of {lacked} ({told or type(error).__name__}). It is kept as "
            "it is: run again when there is more"
        )
    return StageError(
        f"{what} could not be read ({type(error).__name__}: {told}), which does not mean that it is damaged. "
        "It is kept as it is: remove the cause and run again, or begin anew with --refresh"
    )
