"""Requests to a judge's server, with one limit for the whole answer."""

import asyncio
import json
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tasks.errors import StageError
from tasks.judge.backends.base import Json, Reply

LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUICK_TIMEOUT = 10.0  # seconds to connect, and for answers that need no model
KEPT_ALIVE = 20  # idle connections
LONGEST_WAIT = 60.0  # seconds that a server's Retry-After is heeded
LONGEST_ERROR = 300  # characters of a server's words
REAL_KEY = 8  # characters; shorter ones are words like "none", which an answer may hold


def clean(text: str) -> str:
    """Text that can be written as UTF-8: JSON lets a model escape half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


class Server:
    """A judge's server at one address; `secret` is sent as its key and stands in no error."""

    def __init__(self, url: str, timeout: float, connections: int, secret: str | None = None) -> None:
        self.url = url
        self.timeout = timeout
        self._secret = secret
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(None, connect=QUICK_TIMEOUT),
            # httpx looks through all idle connections on every request: many of them cost more than new ones.
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=min(connections, KEPT_ALIVE)
            ),
            headers={"Authorization": f"Bearer {secret}"} if secret else None,
            trust_env=takes_proxy(url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def post(self, path: str, body: Json) -> Reply:
        return await self._request("POST", path, body, self.timeout)

    async def get(self, path: str) -> Reply:
        return await self._request("GET", path, None, min(QUICK_TIMEOUT, self.timeout))

    async def _request(self, method: str, path: str, body: Json | None, limit: float) -> Reply:
        started = time.monotonic()
        try:
            async with asyncio.timeout(limit):  # the whole answer; httpx's own would be for each read
                response = await self._client.request(method, path, json=body)
        except TimeoutError:
            return Reply(None, None, f"no answer within {limit:g} s", time.monotonic() - started)
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Reply(None, None, self._told(text), time.monotonic() - started)
        latency = time.monotonic() - started
        said, status = self._body(response), response.status_code
        if status == 200:
            return Reply(status, said, None, latency)
        error = f"{status} {self._told(_error_text(said) or response.reason_phrase)[:LONGEST_ERROR]}"
        return Reply(status, None, error, latency, _retry_after(response))

    def _body(self, response: httpx.Response) -> Any:
        """A body's JSON, or the text that is none, as it can be kept: without numbers that are none."""
        text = clean(response.text)
        with suppress(ValueError, RecursionError):
            text = clean(json.dumps(json.loads(text), ensure_ascii=False))
        if len(self._secret or "") >= REAL_KEY:
            text = self._told(text)
        try:
            return json.loads(text, parse_constant=str)
        except (ValueError, RecursionError):
            return text

    def _told(self, text: str) -> str:
        """What may be shown: servers repeat a key that they refuse."""
        return text.replace(self._secret, "[the key]") if self._secret else text


def takes_proxy(url: str) -> bool:
    """Whether the environment's proxy may be used: none reaches this machine's loopback."""
    return urlsplit(url).hostname not in LOOPBACK


def url_of(text: str, ports: dict[str, int], what: str) -> str:
    """An address in full, without a closing slash; 0.0.0.0, the address to listen on, is 127.0.0.1.

    Raises StageError for what is no address; `what` says where it was expected.
    """
    scheme, _, rest = text.partition("://")
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
        raise StageError(f"{text!r} is not the address of {what} ({error})") from error
    return url


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; a date, which the header may hold as well, counts as none."""
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), LONGEST_WAIT)
    except (KeyError, ValueError):
        return None


def _error_text(body: Any) -> str:
    """The server's own words; `error` may be a text or an object."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error or body or "").strip()
