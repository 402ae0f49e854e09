"""Ollama's wire: where the server is, what it runs, and one answer of `POST /api/chat`."""

import asyncio
import os
import random
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tasks.config import JudgeConfig
from tasks.errors import StageError, UnreachableError
from tasks.judge.prompts import SCHEMA

PREFIX = "ollama:"
DEFAULT_PORT = 11434
LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUICK_TIMEOUT = 10.0  # seconds to connect, and for answers that need no model
BASE_DELAY = 1.0  # seconds before the first retry; it doubles with each one
MAX_DELAY = 30.0

_JITTER = random.Random()  # of its own: no seeded stream elsewhere may notice

Message = dict[str, str]


def base_url(host: str | None) -> str:
    """The server's address as Ollama reads it: `gpu` is port 11434, `http://gpu` is port 80.

    `host` None means OLLAMA_HOST, then 127.0.0.1. The address to listen on, 0.0.0.0, is reached at 127.0.0.1.

    Raises StageError for what is no address.
    """
    text = (host or os.environ.get("OLLAMA_HOST") or "").strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    ports = {"http": 80, "https": 443} if separator else {"http": DEFAULT_PORT}
    try:
        if scheme not in ports:
            raise ValueError(f"{scheme}:// is neither http:// nor https://")
        parts = urlsplit(f"{scheme}://{rest}")
        name, port = parts.hostname or "127.0.0.1", parts.port or ports[scheme]
        if any(character.isspace() for character in name):
            raise ValueError("a host name has no spaces")
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
        bracketed = f"[{name}]" if ":" in name else name
        url = f"{scheme}://{bracketed}:{port}{parts.path.rstrip('/')}"
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise StageError(
            f"{text!r} is not the address of an Ollama server ({error}); expected something like "
            "127.0.0.1:11434 or http://gpu:11434 in judge.host or OLLAMA_HOST."
        ) from error
    return url


def clean(text: str) -> str:
    """Text that can be written as UTF-8: JSON lets a model escape half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def retry_delay(failures: int) -> float:
    """Seconds to wait after that many failures: doubling, with jitter so that clients spread out."""
    return min(MAX_DELAY, BASE_DELAY * 2 ** (failures - 1)) * _JITTER.uniform(0.5, 1.5)


@dataclass(frozen=True)
class Identity:
    """Exactly who judges."""

    model: str
    digest: str
    version: str


@dataclass(frozen=True)
class Reply:
    """What came of one request; `status` None means that no answer arrived."""

    status: int | None
    body: Any
    error: str | None
    latency: float  # seconds

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later: connection loss, 408, 429, 499 and every 5xx."""
        return self.status is None or self.status in (408, 429, 499) or self.status >= 500


class Ollama:
    """A client of one server and model; use as `async with`."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.model = config.scorer.removeprefix(PREFIX)
        self.url = base_url(config.host)
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(None, connect=QUICK_TIMEOUT),
            limits=httpx.Limits(max_connections=config.concurrency),
            trust_env=urlsplit(self.url).hostname not in LOOPBACK,  # no proxy reaches this machine's loopback
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def identify(self) -> Identity:
        """Ask the server for its version and the model's digest.

        Raises StageError when there is no such server or model, saying how to get it.
        """
        version = await self._get("/api/version", "version", str)
        models = await self._get("/api/tags", "models", list)
        wanted = self.model if ":" in self.model.rpartition("/")[2] else f"{self.model}:latest"
        for entry in models:
            names = {str(entry.get(field, "")).casefold() for field in ("name", "model")}
            if wanted.casefold() in names:
                return Identity(self.model, str(entry.get("digest", "")), version)
        raise self.not_pulled()

    def not_pulled(self) -> StageError:
        return StageError(
            f"the Ollama server at {self.url} has no model {self.model!r}. "
            f"Get it with: ollama pull {self.model}"
        )

    def refused(self, error: str | None) -> StageError:
        return StageError(
            f"the Ollama server at {self.url} refuses to judge: {error}. Check that it is the right server."
        )

    def gone(self, reason: str | None) -> StageError:
        return UnreachableError(
            f"no Ollama server answers at {self.url} ({reason}). Start one with `ollama serve`, or set "
            "OLLAMA_HOST or judge.host to where one runs. Finished answers are kept; run again to continue."
        )

    async def _get(self, path: str, field: str, kind: type) -> Any:
        reply = await self._request("GET", path, None)
        if reply.status is None:
            raise self.gone(reply.error)
        value = reply.body.get(field) if isinstance(reply.body, dict) else None
        if reply.status != 200 or not isinstance(value, kind):
            raise StageError(
                f"what answers at {self.url} is not an Ollama server that can be used: GET {path} gave "
                f"{reply.error or 'no ' + field}. Set OLLAMA_HOST or judge.host to where one runs."
            )
        return value

    async def alive(self) -> bool:
        return (await self._request("GET", "/api/version", None)).status == 200

    def chat_body(self, messages: list[Message], seed: int) -> dict[str, Any]:
        """The request for one score.

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
            "format": SCHEMA,
            "options": {
                "num_ctx": self.config.context,
                "num_predict": self.config.max_tokens,
                "temperature": 0,
                "seed": seed,
            },
        }

    async def chat(self, messages: list[Message], seed: int) -> Reply:
        """Ask once. Never raises for what the network or the server does."""
        return await self._request("POST", "/api/chat", self.chat_body(messages, seed))

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Reply:
        limit = self.config.timeout if body else min(QUICK_TIMEOUT, self.config.timeout)
        started = time.monotonic()
        try:
            async with asyncio.timeout(limit):  # the whole answer; httpx's own would be for each read
                response = await self._client.request(method, path, json=body)
        except TimeoutError:
            return Reply(None, None, f"no answer within {limit:g} s", time.monotonic() - started)
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Reply(None, None, text, time.monotonic() - started)
        latency = time.monotonic() - started
        try:
            value = response.json()
        except ValueError:
            value = response.text
        status = response.status_code
        fault = None if status == 200 else f"{status} {_error_text(value, response)}"
        return Reply(status, value, fault, latency)


def _error_text(body: Any, response: httpx.Response) -> str:
    """The server's own words; `error` may be a text or an object."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message", error)
    return clean(str(error or response.text.strip() or response.reason_phrase)[:300])
