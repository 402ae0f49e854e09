"""How an error of ours travels through Prefect: as a failed state whose name tells its kind."""

from prefect import State
from prefect.states import Failed

from tasks.errors import RefusedError, StageError, TouchstoneError, UsageError

KINDS: dict[str, type[TouchstoneError]] = {"Refused": RefusedError, "Usage": UsageError, "Failed": StageError}


def failed(error: TouchstoneError) -> State:
    """The state of a flow that ended with this error; its message is the error's, with no traceback."""
    name = next(name for name, kind in KINDS.items() if isinstance(error, kind))
    return Failed(name=name, message=str(error))


def error_in(state: State) -> BaseException:
    """The error that ended a flow: one of ours, or whatever else it was."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, BaseException) and not isinstance(error, TouchstoneError):
        return error
    return KINDS.get(state.name or "", StageError)(state.message)
