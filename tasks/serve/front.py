"""What clients reach: OpenAI's protocol in front of an engine, which is given the tokens of the prompt.

An engine that is given text renders the chat template by its own Jinja, and takes what looks like a special
token in a user's words for one. Here prompts are made by the `Template` that made those of the training, so
they are the same tokens. A request that the client leaves is ended in the engine too.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.serve.protocol import (
    ChatAsked,
    CompletionAsked,
    ProtocolError,
    as_chat,
    as_chat_chunk,
    as_completion,
    parse,
    usage_chunk,
)
from tasks.tokenize.templates import Template

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DATA = "data: "
TIMEOUT = httpx.Timeout(None, connect=10.0)  # an answer takes as long as it takes


@dataclass(frozen=True)
class Engine:
    """A server of OpenAI's protocol that only the front asks."""

    address: str
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of every request, where the engine has defaults that OpenAI's protocol does not have."""


@dataclass(frozen=True)
class Front:
    """A model, by the name that clients see."""

    name: str
    engine: Engine
    template: Template | None = None
    """None leaves prompts and requests to the engine, as they are."""
    context: int | None = None

    def entry(self) -> Json:
        """What a list of models has of it."""
        return entry_of(self.name, self.context)

    async def chat(self, request: Request, body: Json) -> Response:
        """The answer to a request of chat completions, whose body was read. Raises ProtocolError."""
        if self.template is None:
            return await self._answer(request, CHAT, body, _unchanged)
        asked: ChatAsked = parse(ChatAsked, body)
        prompt = await run_in_threadpool(self._ids, asked.row(), "messages")
        return await self._answer(request, COMPLETIONS, self._to_engine(asked, prompt), as_chat, asked)

    async def completions(self, request: Request, body: Json) -> Response:
        """The answer to a request of completions, whose body was read. Raises ProtocolError."""
        if self.template is None:
            return await self._answer(request, COMPLETIONS, body, _unchanged)
        asked: CompletionAsked = parse(CompletionAsked, body)
        prompt = asked.prompt
        if isinstance(prompt, str):
            prompt = await run_in_threadpool(self._ids, {"plain": True, "instruction": prompt}, "prompt")
        else:
            self._check_length(prompt, "prompt")
        return await self._answer(request, COMPLETIONS, self._to_engine(asked, prompt), as_completion, asked)

    def _ids(self, row: Json, field: str) -> list[int]:
        """The tokens of the prompt in a field. Raises ProtocolError when there are none, or too many."""
        try:
            ids = self.template.prompt_ids(row)
        except StageError as error:
            raise ProtocolError(400, str(error), param=field) from error
        self._check_length(ids, field)
        return ids

    def _check_length(self, ids: list[int], field: str) -> None:
        """Raise ProtocolError for a prompt without tokens, and for one that leaves an answer no room."""
        if not ids:
            raise ProtocolError(400, "the prompt has no tokens", param=field)
        if self.context and len(ids) >= self.context:
            shorter = "Leave out earlier messages, or shorten them" if field == "messages" else "Shorten it"
            raise ProtocolError(
                400,
                f"the prompt has {len(ids)} tokens and the model's context is {self.context}. {shorter}",
                code="context_length_exceeded",
                param=field,
            )

    def _to_engine(self, asked: ChatAsked | CompletionAsked, prompt: list[int]) -> Json:
        said = asked.sampling()
        if asked.stream:
            said["stream_options"] = {"include_usage": True}
        if self.context:
            room = self.context - len(prompt)
            said["max_tokens"] = min(said.get("max_tokens", room), room)
        return {**self.engine.options, **said, "model": self.name, "prompt": prompt}

    async def _answer(
        self,
        request: Request,
        path: str,
        body: Json,
        convert: Callable[[Json], Json],
        asked: ChatAsked | CompletionAsked | None = None,
    ) -> Response:
        if body.get("stream"):
            opened = self._opened(path, body)
            answer = await opened.__aenter__()
            return _Stream(opened, _until_gone(_pieces(answer, asked)))
        found = await _unless_left(request, self._asked(path, body))
        return JSONResponse(convert(found))

    async def _asked(self, path: str, body: Json) -> Json:
        async with self._opened(path, body) as answer:
            await answer.aread()
            return answer.json()

    @asynccontextmanager
    async def _opened(self, path: str, body: Json) -> AsyncIterator[httpx.Response]:
        """The engine's answer, as it arrives. Raises ProtocolError for an error of its."""
        async with httpx.AsyncClient(
            base_url=self.engine.address, headers=dict(self.engine.headers), timeout=TIMEOUT, trust_env=False
        ) as client:
            try:
                request = client.build_request("POST", path, json=body)
                answer = await client.send(request, stream=True)
                try:
                    if answer.is_error:
                        raise await _error_of(answer)
                    yield answer
                finally:
                    await answer.aclose()
            except httpx.TransportError as error:
                raise _engine_gone(error) from error


def entry_of(name: str, context: int | None = None) -> Json:
    """What a list of models has of one."""
    entry: Json = {"id": name, "object": "model", "created": 0, "owned_by": "touchstone"}
    return entry | ({"context_length": context} if context else {})


def _engine_gone(error: httpx.TransportError) -> ProtocolError:
    return ProtocolError(502, f"the engine does not answer: {error}")


async def _error_of(answer: httpx.Response) -> ProtocolError:
    """What the engine says, in OpenAI's form."""
    text = (await answer.aread()).decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        return ProtocolError(answer.status_code, error["message"], error.get("type"))
    except (ValueError, LookupError, TypeError):
        return ProtocolError(answer.status_code, f"the engine answers {text[:500]}")


class _Stream(StreamingResponse):
    """Server-sent events; the engine's connection is closed however they end, and its work with it."""

    def __init__(
        self, opened: AbstractAsyncContextManager[httpx.Response], pieces: AsyncIterator[str]
    ) -> None:
        super().__init__(pieces, media_type="text/event-stream")
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end, or the client leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._opened.__aexit__(None, None, None))


async def _pieces(answer: httpx.Response, asked: ChatAsked | CompletionAsked | None) -> AsyncIterator[str]:
    """The engine's events in the words of what was asked; as they are where that is None."""
    first, chunk, usage = True, None, None
    async for line in answer.aiter_lines():
        if asked is None:
            yield f"{line}\n"
            continue
        if not line.startswith(DATA) or line == f"{DATA}[DONE]":
            continue
        chunk = json.loads(line.removeprefix(DATA))
        if "choices" not in chunk:  # an error that came after the beginning
            yield _event(chunk)
            return
        usage = chunk.pop("usage", None) or usage
        if chunk["choices"]:
            chats = isinstance(asked, ChatAsked)
            yield _event(as_chat_chunk(chunk, first=first) if chats else as_completion(chunk))
            first = False
    if asked is None:
        return
    if usage and asked.stream_options and asked.stream_options.include_usage:
        kind = "chat.completion.chunk" if isinstance(asked, ChatAsked) else "text_completion"
        yield _event(usage_chunk(chunk, usage, kind))
    yield f"{DATA}[DONE]\n\n"


async def _until_gone(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The pieces; where the engine ends in the middle, an error is the last, for the status was sent."""
    try:
        async for piece in pieces:
            yield piece
    except httpx.TransportError as error:
        yield _event(_engine_gone(error).body)


def _event(value: Json) -> str:
    return f"{DATA}{json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"


async def _unless_left(request: Request, work: Awaitable[Json]) -> Json:
    """What the work gives; it is cancelled when the client goes away. Raises ProtocolError then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ProtocolError(499, "the client went away")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _unchanged(answer: Json) -> Json:
    return answer
