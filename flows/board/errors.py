"""Errors on the board: each is one message on the page, and there is one for MLflow's server being away."""

import inspect
import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NoReturn

import gradio as gr
import httpx
import mlflow
from mlflow.exceptions import MlflowException

from flows.board.html import escaped
from tasks.errors import TouchstoneError, UnreachableError, UsageError, causes
from tasks.machine.home import without_password
from tasks.record.tracking import explained_by_store, is_reachable

WITHIN = 5.0  # seconds that MLflow's server may take to say that it is there
GONE = "RESOURCE_DOES_NOT_EXIST"  # says MLflow
BRIEFLY = 10.0  # seconds that the message is shown that stands at the top of the page too

log = logging.getLogger(__name__)


class StoreAwayError(UnreachableError):
    """The server of MLflow does not answer, as the page says at its top."""


def handler(act: Callable[..., Any]) -> Callable[..., Any]:
    """Goes around what a button does: an error of ours becomes a message on the page, with its own words."""
    if inspect.isgeneratorfunction(act):

        @wraps(act)
        def run(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from act(*arguments, **named)
            except Exception as error:
                raise_on_page(error)

    else:

        @wraps(act)
        def run(*arguments: Any, **named: Any) -> Any:
            try:
                return act(*arguments, **named)
            except Exception as error:
                raise_on_page(error)

    return run


def raise_on_page(error: Exception) -> NoReturn:
    """Raises gr.Error; a defect's traceback goes to the log of the command too."""
    if isinstance(error, gr.Error):
        raise error
    told = explained(error)
    if told is None:
        log.error("a defect", exc_info=error)
        what = f"{type(error).__name__}: {error} (where the board was started its log tells more)"
    else:
        what = str(told)
    shown_for = BRIEFLY if isinstance(told, StoreAwayError) else None
    raise gr.Error(escaped(what), duration=shown_for, print_exception=False) from None


def explained(error: Exception) -> TouchstoneError | None:
    """What to tell a person instead of an error; None for a defect."""
    told = explained_by_store(error, mlflow.get_tracking_uri())
    if (told or any(isinstance(cause, httpx.TransportError) for cause in causes(error))) and (
        away := store_away()
    ):
        return StoreAwayError(away)
    if told:
        return told
    if isinstance(error, TouchstoneError):
        return error
    if isinstance(error, MlflowException) and error.error_code == GONE:
        missing = str(error).removeprefix(f"{GONE}: ").partition("\n")[0].rstrip(".")
        return UsageError(f"{missing}. It was removed: reload the page")
    return None


def require_store() -> None:
    """Raises StoreAwayError while the server of MLflow does not answer: what needs it is not even begun."""
    if away := store_away():
        raise StoreAwayError(away)


def store_away() -> str:
    """What to tell while the server of MLflow does not answer; nothing while it does, and without one."""
    address = mlflow.get_tracking_uri()
    if is_reachable(address, WITHIN):
        return ""
    return (
        f"The MLflow server {without_password(address)} does not answer. What this page shows is from "
        "before, and nothing is saved until it answers again. Start the server, or look at the network "
        "between; the page then goes on by itself."
    )
