"""How an error of ours travels through Prefect: as a final state whose type or name tells its kind."""

from prefect import State
from prefect.exceptions import FailedRun
from prefect.results import ResultRecord
from prefect.states import Cancelled, Crashed, Failed

from tasks.errors import (
    CrashedError,
    IncompleteError,
    RefusedError,
    StageError,
    StoppedError,
    TouchstoneError,
    UsageError,
)
from tasks.machine.secrets import redacted

STATES = {
    RefusedError: (Failed, "Refused"),
    UsageError: (Failed, "Usage"),
    CrashedError: (Crashed, "Crashed"),
    StoppedError: (Cancelled, "Cancelled"),
    IncompleteError: (Failed, "Incomplete"),
    StageError: (Failed, "Failed"),
}  # an error is told by the first of these kinds that it is of


def failed(error: TouchstoneError) -> State:
    """The state of a flow that ended with this error; its message is the error's, with no traceback."""
    state, name = next(STATES[kind] for kind in STATES if isinstance(error, kind))
    return state(name=name, message=redacted(str(error)))


def error_in(state: State) -> BaseException:
    """The error that ended a flow: one of ours, or whatever else it was."""
    kind = next((kind for kind, (_, name) in STATES.items() if name == state.name), StageError)
    if state.is_crashed() or state.is_cancelled():
        return kind(state.message or f"the flow run was {state.type.value.lower()}, without a reason")
    # Not state.result(): a state that was read from a server names a file to unpickle.
    error = state.data.result if isinstance(state.data, ResultRecord) else state.data
    if isinstance(error, BaseException) and not isinstance(error, TouchstoneError | FailedRun):
        return error
    return kind(state.message)  # all that there is of a state that was read from the server
