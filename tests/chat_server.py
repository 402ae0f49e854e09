"""What test servers of every chat protocol share: slots, a queue, faults, and a record of the requests.

One thread serves all connections, so that thirty requests in flight cost little of the processor that the
client under test runs on. Judges run on that thread: they must not wait. An answer takes `latency` seconds
in one of the slots. The next in the queue starts when that time is over, not when this process got round to
noticing it, so a full queue is really served at `slots / latency` requests a second.
"""

import asyncio
import json
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Literal, NamedTuple, Self

from tests.judges import Judge, honest, question_in, spoken

CHARACTERS_PER_TOKEN = 4
KEPT_WHEN_CUT = 4  # num_keep: tokens at the front that a cut leaves alone
LONGEST_STALL = 30.0  # seconds, for clients that never give up

Json = dict[str, Any]

FaultKind = Literal[
    "429",  # too many requests, as a proxy before the server says
    "500",  # the runner failed
    "503",  # the queue is full
    "400",  # refused as too long, whatever its length
    "401",  # the key is not accepted
    "404",  # the model was removed
    "stall",  # no answer before the client gives up
    "drop",  # the connection is closed without an answer
    "die",  # the whole server is gone, for good
    "cut_json",  # the limit of tokens is reached in the middle of the JSON
    "not_done",  # Ollama: done: false with status 200, after repeated tokens
    "loading",  # the model is being loaded: Ollama says done_reason "load" and no text, others 503
    "cut_prompt",  # the prompt is cut although truncate and shift are off
    "no_count",  # the length of the prompt is not told
    "no_reason",  # why the answer ended is not told
    "null",  # OpenAI: the content is null
    "parts",  # OpenAI: the content is a list, of thinking and of text
    "picture",  # OpenAI: the content is a list, of a picture
    "refusal",  # OpenAI: the content is null, and the refusal has a field of its own
    "garbage",  # the model's text is not JSON
    "broken_body",  # a 200 that is not JSON
    "error_body",  # a 200 with an error in it
    "score_90",  # off the scale
    "score_-1",
    "score_true",
    "score_4.0",
    "score_4.5",
    "score_text",
    "score_null",
    "score_twice",  # two scores in one object
    "only_score",  # no reason
    "half_character",  # a good score, and a reason that UTF-8 cannot hold
    "fenced",  # JSON in a code block
    "tilde_fenced",
    "thinking",  # JSON after the part in which the model thinks
    "thought",  # the same, its beginning written by the chat template
    "thinking_fenced",
    "thinking_cut",  # without its end
    "thinking_twice",
    "fenced_in_prose",
    "fenced_twice",
]

CONTENTS: dict[str, str] = {
    "garbage": "I would give this response a score of 90 out of 100.",
    "score_90": '{"reason": "Good.", "score": 90}',
    "score_-1": '{"reason": "Bad.", "score": -1}',
    "score_true": '{"reason": "Good.", "score": true}',
    "score_4.0": '{"reason": "Good.", "score": 4.0}',
    "score_4.5": '{"reason": "Good.", "score": 4.5}',
    "score_text": '{"reason": "Good.", "score": "4"}',
    "score_null": '{"reason": "Good.", "score": null}',
    "score_twice": '{"reason": "Good.", "score": 0, "score": 5}',
    "only_score": '{"score": 4}',
    "cut_json": '{"reason": "The response is',
    "half_character": '{"reason": "Good \\ud83d", "score": 4}',
    "fenced": '```json\n{"reason": "Good.", "score": 4}\n```',
    "tilde_fenced": '\n~~~\n{"reason": "Say ```a```.", "score": 4}\n~~~\n',
    "thinking": '<think>\nIs it {"score": 0}?\n</think>\n\n{"reason": "It </think>s.", "score": 4}',
    "thought": 'It may be 0 or 5.\n</think>\n{"reason": "Good.", "score": 4}',
    "thinking_fenced": '<think></think>\n```JSON\n{"reason": "Good.", "score": 4}\n```',
    "thinking_cut": '<think>\nIt is {"reason": "Good.", "score": 4}',
    "thinking_twice": 'So.</think> No.</think>{"reason": "Good.", "score": 4}',
    "fenced_in_prose": 'My grade:\n```json\n{"reason": "Good.", "score": 4}\n```',
    "fenced_twice": '```\n{"reason": "a", "score": 0}\n```\n```\n{"reason": "b", "score": 4}\n```',
}


@dataclass
class Fault:
    """What goes wrong with the next `times` chats whose text holds `containing`; None is every one.

    More may be appended to a server's `faults` while it runs.
    """

    kind: FaultKind
    times: int | None = 1
    containing: str = ""


class DroppedError(Exception):
    """Close the connection without an answer."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived; the names of the headers are in lower case."""

    method: str
    path: str
    body: Json
    headers: Mapping[str, str]
    raw: bytes = b""
    """The body as it came; one that is a file has no JSON."""

    @property
    def messages(self) -> list[Json]:
        return self.body.get("messages") or []

    @property
    def text(self) -> str:
        return "\n".join(str(message.get("content", "")) for message in self.messages)

    @property
    def tokens(self) -> int:
        return tokens_in(self.text)


@dataclass(frozen=True)
class Response:
    """One answer; a body that is an iterator is sent in chunks as it comes."""

    status: int
    body: bytes | AsyncIterator[bytes]
    kind: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class Turn(NamedTuple):
    """How long a request waited for a slot and was then in it, in seconds."""

    waited: float
    worked: float


def tokens_in(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def left_of(context: int) -> int:
    """The tokens of an overlong prompt that Ollama keeps when it cuts silently: about half the context."""
    return context - max((context - KEPT_WHEN_CUT) // 2, 1)


def json_response(status: int, value: Json, **headers: str) -> Response:
    return Response(status, json.dumps(value).encode(), headers=headers)


@dataclass
class ChatServer(ABC):
    """The server, as a context manager; give `port` to come back where an earlier one was.

    What raises in a judge is answered with 500 and raised again when the server is left.
    """

    judge: Judge = honest
    faults: Iterable[Fault] = ()
    models: tuple[str, ...] = ("llama3.2:latest",)
    slots: int = 1
    queue: int = 512
    latency: float = 0.0  # seconds of one answer, in a slot
    retry_after: str | None = None  # the header of 429 and 503
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    most_in_flight: int = 0

    chat_path: ClassVar[str]
    foreign_faults: ClassVar[frozenset[FaultKind]]

    def __enter__(self) -> Self:
        self.faults = list(self.faults)
        self.failure: Exception | None = None
        listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = listening.getsockname()[1]
        # epoll rounds every wait up to a whole millisecond, which is a twentieth of a short latency
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._stopping = asyncio.Event()
        self._in_flight = 0
        self._free: asyncio.Queue[float] = asyncio.Queue()  # when each free slot became free
        for _ in range(self.slots):
            self._free.put_nowait(0.0)
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if self.failure is not None and kind is None:
            raise self.failure

    def stop(self) -> None:
        """Go away for good: no connection is taken any more, and open ones are dropped."""
        with suppress(RuntimeError):  # it has died already
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        connections: set[_Connection] = set()
        http = await self._loop.create_server(lambda: _Connection(self, connections), sock=listening)
        await self._stopping.wait()
        http.close()
        for connection in tuple(connections):
            connection.drop()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.path == self.chat_path]

    @abstractmethod
    def error(self, status: int, message: str, code: str | None = None, **headers: str) -> Response:
        """An error in the words of the protocol."""

    @abstractmethod
    async def answer(self, request: Request) -> Response:
        """Answer anything that is well-formed HTTP."""

    async def respond(self, request: Request) -> Response:
        """Answer, and keep what a judge raises."""
        self.requests.append(request)
        try:
            return await self.answer(request)
        except DroppedError:
            raise
        except Exception as failure:
            self.failure = self.failure or failure
            return self.error(500, repr(failure))

    def next_fault(self, request: Request) -> FaultKind | None:
        for fault in self.faults:
            if fault.times != 0 and fault.containing in request.text:
                fault.times = None if fault.times is None else fault.times - 1
                if fault.kind in self.foreign_faults:
                    raise ValueError(f"{type(self).__name__} has no fault {fault.kind!r}")
                return fault.kind
        return None

    async def lose_if(self, fault: FaultKind | None) -> None:
        """Give no answer at all, for the faults that mean that."""
        if fault == "die":
            self._stopping.set()
        if fault == "stall":
            await asyncio.sleep(LONGEST_STALL)
        if fault in ("drop", "die", "stall"):
            raise DroppedError

    def busy(self, status: int, message: str, code: str | None = None) -> Response:
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return self.error(status, message, code, **headers)

    async def turn(self) -> Turn | None:
        """Wait for a slot and be in it for `latency` seconds; None when the queue is full.

        A client that goes away gives its slot, or its place in the queue, to the next.
        """
        if self._in_flight >= self.slots + self.queue:
            return None
        arrived = self._loop.time()
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            started = max(arrived, await self._free.get())
            done = started + self.latency
            try:
                await asyncio.sleep(done - self._loop.time())
            finally:
                self._free.put_nowait(min(done, self._loop.time()))
        finally:
            self._in_flight -= 1
        return Turn(started - arrived, self._loop.time() - started)

    def words(
        self, request: Request, fault: FaultKind | None, limit: int, structured: bool, seed: int
    ) -> tuple[str, str]:
        """The model's text of at most `limit` tokens (negative: any number), and why it ended."""
        if fault in CONTENTS:
            return CONTENTS[fault], "length" if fault == "cut_json" else "stop"
        content = spoken(self.judge, question_in(request.messages, seed), structured)
        if 0 <= limit < tokens_in(content):
            return content[: limit * CHARACTERS_PER_TOKEN], "length"
        return content, "stop"


class _Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection; its request is given up when the client goes away."""

    def __init__(self, server: ChatServer, connections: set["_Connection"]) -> None:
        self._server = server
        self._connections = connections
        self._received = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport  # asyncio sets TCP_NODELAY
        self._connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = rest[length:]
        self._task = asyncio.create_task(self._respond(method, path, headers, rest[:length]))

    async def _respond(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> None:
        try:
            is_file = headers.get("content-type") == "application/octet-stream"
            body = json.loads(raw) if raw and not is_file else {}
        except ValueError as error:
            await self._send(self._server.error(400, str(error)))
        else:
            try:
                await self._send(await self._server.respond(Request(method, path, body, headers, raw)))
            except DroppedError:
                return self.drop()
        self._task = None
        if headers.get("connection", "").lower() == "close":
            return self._transport.close()
        return self._next()

    async def _send(self, response: Response) -> None:
        """Status, headers and a body of known length in one write."""
        whole = isinstance(response.body, bytes)
        size = f"Content-Length: {len(response.body)}" if whole else "Transfer-Encoding: chunked"
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Content-Type: {response.kind}",
            size,
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if whole:
            return self._transport.write(head + response.body)
        self._transport.write(head)
        async for chunk in response.body:
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return self._transport.write(b"0\r\n\r\n")
