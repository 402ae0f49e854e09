"""Judges on an Ollama server: `POST /api/chat`."""

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Self

import httpx

from tasks.config import AskConfig
from tasks.data.reading import Message
from tasks.errors import StageError, UnreachableError
from tasks.judge.backends.base import Json
from tasks.judge.protocol.replies import Answered, Identity
from tasks.judge.protocol.scoring_protocols import AskingProtocol, UnusableError
from tasks.machine.addresses import WEB
from tasks.machine.proxies import takes_proxy
from tasks.servers.http import QUICK_TIMEOUT, Server, clean, url_of
from tasks.servers.replies import Reply

DEFAULT_PORT = 11434
FIRST_IN_FLIGHT, MOST_IN_FLIGHT = 4, 64
EXPECTED = (
    "an Ollama server; expected something like 127.0.0.1:11434 or http://gpu:11434 in judge.host or "
    "OLLAMA_HOST"
)
NANOSECONDS = 1e9


def base_url(host: str | None) -> str:
    """The server's address as Ollama reads it: `gpu` is port 11434, `http://gpu` is port 80.

    `host` None means OLLAMA_HOST, then 127.0.0.1.

    Raises UsageError for what is no address.
    """
    text = (host or os.environ.get("OLLAMA_HOST") or "").strip().strip("\"'")
    if "://" in text:
        return url_of(text, WEB, EXPECTED)
    return url_of(text, {"http": DEFAULT_PORT}, EXPECTED, default="http")


class Ollama:
    """One model of one Ollama server."""

    promised = None  # the model may have been trained with a shorter context than it is asked for
    refusals = None  # options that it does not know are no error to it

    def __init__(self, config: AskConfig, model: str, form: AskingProtocol) -> None:
        self.model = model
        self.context: int | None = config.context
        self.first_in_flight = config.concurrency or FIRST_IN_FLIGHT
        self.most_in_flight = config.concurrency or MOST_IN_FLIGHT
        self._config = config
        self._form = form
        self._section, self._refused = config.SECTION, config.REFUSED
        self._server = Server(base_url(config.host), config.timeout)
        self.url = self._server.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    async def identify(self) -> Identity:
        """Ask the server for its version and the model's digest."""
        version = await self._get("/api/version", "version", str)
        entry = await self._entry()
        if entry is None:
            raise self._not_pulled()
        return Identity(f"ollama:{self.model}", str(entry.get("digest", "")), version)

    async def has_model(self) -> bool:
        return await self._entry() is not None

    async def _entry(self) -> Json | None:
        """What the server lists of the model."""
        wanted = self.model if ":" in self.model.rpartition("/")[2] else f"{self.model}:latest"
        for entry in await self._get("/api/tags", "models", list):
            if wanted.casefold() in {str(entry.get(field, "")).casefold() for field in ("name", "model")}:
                return entry
        return None

    async def pull(self, progress: Callable[[float, float, str, str], None]) -> None:
        """Let the server fetch the model; `progress` hears of bytes.

        Raises StageError when the server cannot.
        """
        ollama = _library(self.url)
        client = ollama.AsyncClient(
            host=self.url, timeout=httpx.Timeout(None, connect=QUICK_TIMEOUT), trust_env=takes_proxy(self.url)
        )
        try:
            async for step in await client.pull(self.model, stream=True):
                if step.total:
                    progress(step.completed or 0, step.total, "bytes", f"pulling {self.model}")
        except ollama.ResponseError as error:
            raise StageError(
                f"the Ollama server at {self.url} cannot pull {self.model!r}: {clean(str(error.error))}. "
                "Check the model's name at https://ollama.com/library."
            ) from error
        except (ConnectionError, httpx.HTTPError) as error:
            raise self.gone(str(error) or type(error).__name__) from error

    async def alive(self) -> bool:
        return (await self._server.get("/api/version")).status == 200

    def request(self, messages: list[Message], seed: int) -> Json:
        """The request for one answer.

        `num_ctx` is on every call, always the same, because the server's default depends on its version and
        memory and a change reloads the model; without `truncate` and `shift` off, an overlong prompt is
        silently cut.
        """
        return {
            "model": self.model,
            "messages": messages,
            "stream": False,
            "think": False,
            "truncate": False,
            "shift": False,
            **({"format": self._form.schema} if self._form.schema else {}),
            "options": {
                "num_ctx": self._config.context,
                "num_predict": self._config.max_tokens,
                "temperature": self._form.temperature,
                "seed": seed,
            },
        }

    async def send(self, request: Json) -> Reply:
        return await self._server.post("/api/chat", request)

    def answered(self, body: Any) -> Answered:
        if not isinstance(body, dict) or not isinstance(body.get("message"), dict):
            error = body.get("error") if isinstance(body, dict) else None
            raise UnusableError(f"the server's answer holds no message{f': {error!r:.200}' if error else ''}")
        if body.get("done") is not True:
            raise UnusableError("the model gave up in the middle of its answer (done is false)")
        if body.get("done_reason") == "length":
            raise UnusableError(
                f"the answer was cut at its limit; {self._section}.max_tokens or {self._section}.context is "
                "too small"
            )
        if (reason := body.get("done_reason")) not in ("stop", "", None):  # early servers give none
            raise UnusableError(f"the answer ended for the reason {reason!r} instead of 'stop'")
        content = body["message"].get("content")
        if not isinstance(content, str):
            raise UnusableError("the message has no text")
        counts = (_whole(body.get(name)) for name in ("prompt_eval_count", "eval_count"))
        return Answered(content, *counts, ended=bool(reason))

    def spent(self, reply: Reply) -> tuple[float, float]:
        """What is neither loading, reading nor writing was waiting for a slot; loading counts as neither."""
        body = reply.body if isinstance(reply.body, dict) else {}
        names = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
        spans = [body.get(name) for name in names]
        if any(type(span) is not int for span in spans):
            return 0.0, 0.0
        total, loading, reading, writing = (span / NANOSECONDS for span in spans)
        return total - loading, reading + writing

    def fatal(self, reply: Reply) -> StageError:
        if reply.status == 404:
            return self._not_pulled()
        return StageError(
            f"the Ollama server at {self.url} refuses {self._refused}: {reply.error}. "
            "Check that it is the right server."
        )

    def gone(self, reason: str | None) -> StageError:
        return UnreachableError(
            f"no Ollama server answers at {self.url} ({reason}). Start one with `ollama serve`, or set "
            f"OLLAMA_HOST or {self._section}.host to where one runs. Finished answers are kept; run again to "
            "continue."
        )

    def _not_pulled(self) -> StageError:
        return StageError(
            f"the Ollama server at {self.url} has no model {self.model!r}. Get it with: "
            f"ollama pull {self.model}, or let this do it: --pull"
        )

    async def _get(self, path: str, field: str, kind: type) -> Any:
        reply = await self._server.get(path)
        if reply.status is None:
            raise self.gone(reply.error)
        value = reply.body.get(field) if isinstance(reply.body, dict) else None
        if reply.status != 200 or not isinstance(value, kind):
            raise StageError(
                f"what answers at {self.url} is not an Ollama server that can be used: GET {path} gave "
                f"{reply.error or 'no ' + field}. Set OLLAMA_HOST or {self._section}.host to where one runs."
            )
        return value


def _library(url: str) -> ModuleType:
    """Ollama's client, which reads OLLAMA_HOST when it is imported and cannot read all that it may hold."""
    told = os.environ.get("OLLAMA_HOST")
    os.environ["OLLAMA_HOST"] = url
    try:
        return import_module("ollama")
    finally:
        os.environ.pop("OLLAMA_HOST")
        if told is not None:
            os.environ["OLLAMA_HOST"] = told


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
