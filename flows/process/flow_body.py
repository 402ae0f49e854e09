"""How the body of every flow begins and ends: with the secrets that Prefect keeps, and in a state that tells.

Secrets come from the environment, or from Prefect's Secret blocks: never a parameter, never in a record. An
error of ours travels through Prefect as a final state whose type or name tells its kind.
"""

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from prefect import State
from prefect.blocks.system import Secret
from prefect.exceptions import FailedRun, ObjectNotFound
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
from tasks.machine.secrets import SECRETS, redacted

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

_started: ContextVar[float] = ContextVar("started")


def flow_body(body: Callable[Parameters, Returned]) -> Callable[Parameters, Returned | State]:
    """Goes below `@flow`: the body finds its secrets, and an error of ours ends it in a failed state."""

    @wraps(body)
    def run(*arguments: Parameters.args, **parameters: Parameters.kwargs) -> Returned | State:
        token = _started.set(time.monotonic())
        try:
            load_secrets()
            return body(*arguments, **parameters)
        except TouchstoneError as error:
            return failed(error)
        finally:
            _started.reset(token)

    return run


def flow_started() -> float:
    """When the present flow's body began, on the monotonic clock."""
    return _started.get()


def block_name(variable: str) -> str:
    """The Secret block that holds an environment variable: touchstone-hf-token for HF_TOKEN."""
    return f"touchstone-{variable.lower().replace('_', '-')}"


@cache
def load_secrets() -> None:
    """Put secrets that only Prefect knows into this process's environment, where libraries look for them.

    Prefect is asked once a process: every pipeline and every stage of it needs them.
    """
    for variable in SECRETS:
        if os.environ.get(variable):
            continue
        try:
            os.environ[variable] = str(Secret.load(block_name(variable), _sync=True).get())
        except ValueError as error:  # Prefect's own error for a block that does not exist
            if not isinstance(error.__cause__, ObjectNotFound):
                raise


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
