"""Errors that a person can act on: what was found, what was expected, what to do."""

import copyreg
from collections.abc import Callable, Iterator
from typing import Any, Self


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from, the nearest first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


class TouchstoneError(Exception):
    """An error whose message is complete in itself; it is shown without a traceback.

    `exit_status` is what the command returns for it. Whatever a subclass's constructor asks for, an error
    survives a process boundary, and can be told again in other words.
    """

    exit_status = 1

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """As `Exception` is pickled, but made without the constructor: that takes no message everywhere."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__

    def retold(self, message: str) -> Self:
        """The same kind of error, with all that it holds, but for the message."""
        other = type(self).__new__(type(self), message)
        other.__dict__.update(self.__dict__)
        return other


class StageError(TouchstoneError):
    """A stage could not do its work: bad data, an unreachable address, no space."""

    exit_status = 1


class UnreachableError(StageError):
    """An address or a server did not answer; the same attempt may well succeed later."""


class StoppedError(StageError):
    """Someone cancelled the stage elsewhere; nothing is wrong with it."""


class CrashedError(StageError):
    """The process of a stage is gone: killed, out of memory, or with its machine."""


class IncompleteError(StageError):
    """Some of several runs failed; what came of the others is there, and told."""


class UsageError(TouchstoneError):
    """The command, the profile or a file it names is wrong; no stage was run."""

    exit_status = 2


class RefusedError(TouchstoneError):
    """A check said no: the number or the model it would lead to cannot be vouched for."""

    exit_status = 3
