"""How the board shows what it is told: documents in frames of their own, and errors as messages."""

import inspect
import logging
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from typing import Any, NoReturn

import gradio as gr
import mlflow

from tasks.errors import TouchstoneError
from tasks.machine.secrets import redacted
from tasks.record.tracking import explained_by_store
from tasks.show.document import Document
from tasks.show.html import as_html
from tasks.show.text import visible

log = logging.getLogger(__name__)


def frame(document: Document) -> str:
    """A document's page for `gr.HTML`, in a frame in which nothing runs."""
    page = escape(as_html(document), quote=True)
    return f'<iframe class="document" sandbox="" title="{shown(document.title)}" srcdoc="{page}"></iframe>'


def shown(text: str) -> str:
    """A text that nobody vouches for, as HTML shows it: escaped, its control characters visible."""
    return escape(visible(redacted(text)), quote=True)


def handler(act: Callable[..., Any]) -> Callable[..., Any]:
    """Goes around what a button does: an error of ours becomes a message on the page, with its own words."""
    if inspect.isgeneratorfunction(act):

        @wraps(act)
        def run(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from act(*arguments, **named)
            except Exception as error:
                _raise_told(error)

    else:

        @wraps(act)
        def run(*arguments: Any, **named: Any) -> Any:
            try:
                return act(*arguments, **named)
            except Exception as error:
                _raise_told(error)

    return run


def _raise_told(error: Exception) -> NoReturn:
    """Raises gr.Error; a defect's traceback goes to the log of the command too."""
    if isinstance(error, gr.Error):
        raise error
    told = explained_by_store(error, mlflow.get_tracking_uri()) or error
    if isinstance(told, TouchstoneError):
        raise gr.Error(shown(str(told)), duration=None, print_exception=False) from None
    log.error("a defect", exc_info=error)
    what = f"{type(error).__name__}: {error} (where the board was started its log tells more)"
    raise gr.Error(shown(what), duration=None, print_exception=False) from None
