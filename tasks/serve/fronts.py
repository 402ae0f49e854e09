"""Several models behind one address; others are opened when they are asked for, and closed for the next.

A pipeline asks for each model that it trains by the first digits of its digest, once it is there: no list of
names that is made before can hold them.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tasks.errors import TouchstoneError
from tasks.machine.json_files import Json, as_line
from tasks.serve.front import CHAT, COMPLETIONS, Front, entry_of
from tasks.serve.protocol import ProtocolError

ANSWERED = 1.0  # seconds that a model has to end an answer whose last words have been sent

Answer = Callable[[Front, Request, Json], Awaitable[Response]]


@dataclass
class _Opened:
    """A model that is there, with how many requests it answers at the moment."""

    front: Front
    stack: ExitStack
    busy: int = 0


@dataclass(frozen=True)
class OnDemand:
    """Where models come from that are opened when they are asked for."""

    open: Callable[[str], AbstractContextManager[Front]]
    """By a name. Raises TouchstoneError where there is none, or it cannot be served."""
    names: Callable[[], list[str]]
    """What clients are told that there is."""
    most: int
    """At once."""


class Fronts:
    """Models by their names; `key` is what clients must bring."""

    def __init__(
        self, fronts: Iterable[Front], on_demand: OnDemand | None = None, key: str | None = None
    ) -> None:
        self.fronts, self.on_demand, self.key = {front.name: front for front in fronts}, on_demand, key
        self._opened: dict[str, _Opened] = {}  # that was used last, last
        self._room = asyncio.Condition()  # its lock is held while models are opened and closed

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/health", _health),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._models),
            Route(CHAT, _Answering(self, Front.chat), methods=["POST"]),
            Route(COMPLETIONS, _Answering(self, Front.completions), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers=HANDLERS)

    def close(self) -> None:
        """End every engine that was started on demand."""
        while self._opened:
            self._opened.popitem()[1].stack.close()

    async def _models(self, request: Request) -> Response:
        _admit(request, self.key)
        entries = {name: front.entry() for name, front in self.fronts.items()}
        if self.on_demand:
            entries |= {name: entry_of(name) for name in await run_in_threadpool(self.on_demand.names)}
        if wanted := request.path_params.get("name"):
            if wanted not in entries:
                raise _no_such_model(wanted, entries)
            return JSONResponse(entries[wanted])
        return JSONResponse({"object": "list", "data": list(entries.values())})

    async def opened(self, name: str) -> _Opened:
        """The model of that name, which the caller gives back with `closed`.

        Raises ProtocolError where there is none, and where there is no room for it.
        """
        if name in self.fronts:
            return _Opened(self.fronts[name], ExitStack(), busy=1)
        if self.on_demand is None:
            raise _no_such_model(name, self.fronts)
        async with self._room:
            await self._wait_for_place(name)
            if name in self._opened:
                self._opened[name] = self._opened.pop(name)
            else:
                if not self._has_free_place():
                    await run_in_threadpool(self._opened.pop(self._idle()).stack.close)
                self._opened[name] = await run_in_threadpool(_open, self.on_demand, name)
            self._opened[name].busy += 1
            return self._opened[name]

    async def closed(self, opened: _Opened) -> None:
        """A request was answered, or given up."""
        opened.busy -= 1
        async with self._room:
            self._room.notify_all()

    async def _wait_for_place(self, name: str) -> None:
        """Until the model is there, or can be; one that is about to have answered is waited for.

        Raises ProtocolError, to ask again, where all go on answering.
        """
        try:
            async with asyncio.timeout(ANSWERED):
                await self._room.wait_for(
                    lambda: name in self._opened or self._has_free_place() or self._idle() is not None
                )
        except TimeoutError:
            told = f"{self.on_demand.most} models answer at the moment. Ask again"
            raise ProtocolError(503, told, "overloaded") from None

    def _has_free_place(self) -> bool:
        return len(self._opened) < self.on_demand.most

    def _idle(self) -> str | None:
        """The model that was used longest ago, of those that answer nothing now."""
        return next((name for name, one in self._opened.items() if not one.busy), None)


class _Answering:
    """The ASGI application of one path: the request goes to the model that it names."""

    def __init__(self, fronts: Fronts, answer: Answer) -> None:
        self.fronts, self.answer = fronts, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        _admit(request, self.fronts.key)
        body = await _body_of(request)
        opened = await self.fronts.opened(str(body.get("model")))
        try:
            response = await self.answer(opened.front, request, body)
            await response(scope, receive, send)
        finally:
            await self.fronts.closed(opened)


def _open(source: OnDemand, name: str) -> _Opened:
    stack = ExitStack()
    try:
        return _Opened(stack.enter_context(source.open(name)), stack)
    except TouchstoneError as error:
        raise _unknown(f"there is no model {name!r} here: {error}") from error


def _no_such_model(name: str, known: Iterable[str]) -> ProtocolError:
    there = ", ".join(map(repr, known)) or "none"
    return _unknown(f"there is no model {name!r} here; there is {there}")


def _unknown(message: str) -> ProtocolError:
    return ProtocolError(404, message, "model_not_found", "model")


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _admit(request: Request, key: str | None) -> None:
    """Raises ProtocolError for a client without the key."""
    brought = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key and not hmac.compare_digest(brought.encode(), key.encode()):
        raise ProtocolError(401, "the API key is missing or wrong", code="invalid_api_key")


async def _body_of(request: Request) -> Json:
    """The JSON object that a request brings. Raises ProtocolError for anything else."""
    try:
        body = json.loads(await request.body())
        as_line(body).encode()  # Python reads NaN and half a surrogate pair, which no engine can be sent
    except (ValueError, RecursionError) as error:
        raise ProtocolError(400, f"the request is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise ProtocolError(400, "the request is no JSON object")
    return body


async def _told(_: Request, error: ProtocolError) -> Response:
    return JSONResponse(error.body, error.status)


async def _not_there(request: Request, error: HTTPException) -> Response:
    asked = f"{request.method} {request.url.path}"
    message = f"{asked} is not known here; there are {CHAT}, {COMPLETIONS} and /v1/models"
    return JSONResponse(ProtocolError(error.status_code, message).body, error.status_code)


HANDLERS: dict[Any, Any] = {ProtocolError: _told, HTTPException: _not_there}
"""How the application tells what is wrong, in OpenAI's form."""
