"""Requests to a server of language models, with one limit for the whole answer."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from tasks.errors import UsageError
from tasks.machine.addresses import parse_address, reached
from tasks.machine.json_files import Json
from tasks.machine.proxies import takes_proxy, through
from tasks.servers.replies import Reply

QUICK_TIMEOUT = 10.0  # seconds to connect, and for answers that need no model
LONGEST_WAIT = 60.0  # seconds that a server's Retry-After is heeded
LONGEST_ANSWER = 16 * 2**20  # bytes; an answer has some thousand
LONGEST_ERROR = 300  # characters of a server's words
DECODED = ("content-encoding", "content-length", "transfer-encoding")
REAL_KEY = 8  # characters; shorter ones are words like "none", which an answer may hold


def clean(text: str) -> str:
    """Text that can be written as UTF-8: JSON lets a model escape half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


class Server:
    """A server at one address; `secret` is sent as its key and stands in no error."""

    def __init__(self, url: str, timeout: float, secret: str | None = None) -> None:
        """Raises UsageError where the environment's proxy stands before the address and cannot be used."""
        self.url = url
        self.timeout = timeout
        self._secret = secret
        self._trust = takes_proxy(url)
        self._certificates = httpx.create_ssl_context() if url.startswith("https") else False
        # A client for each connection: one that holds many looks through all of them at every request.
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.aclose()

    async def post(self, path: str, body: Json) -> Reply:
        return await self._request("POST", path, body, self.timeout)

    async def get(self, path: str) -> Reply:
        return await self._request("GET", path, None, min(QUICK_TIMEOUT, self.timeout))

    async def _request(self, method: str, path: str, body: Json | None, limit: float) -> Reply:
        started = time.monotonic()
        try:
            async with asyncio.timeout(limit):  # the whole answer; httpx's own would be for each read
                response = await self._through_one(method, path, body)
        except TimeoutError:
            text = f"no answer within {limit:g} s{through(self.url)}"
            return Reply(None, None, text, time.monotonic() - started)
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Reply(None, None, self._told(f"{text}{through(self.url)}"), time.monotonic() - started)
        latency = time.monotonic() - started
        said, status = self._body(response), response.status_code
        if status == 200:
            return Reply(status, said, None, latency)
        error = f"{status} {self._told(_error_text(said) or response.reason_phrase)[:LONGEST_ERROR]}"
        return Reply(status, None, error, latency, _retry_after(response), _parameter(said))

    async def _through_one(self, method: str, path: str, body: Json | None) -> httpx.Response:
        """Send a request through the connection that was used last and is idle, or through a new one."""
        if not self._idle:
            self._idle.append(self._connect())
        client = self._idle.pop()
        try:
            async with client.stream(method, path, json=body) as response:
                return await _whole(response)
        finally:
            self._idle.append(client)

    def _connect(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(None, connect=QUICK_TIMEOUT),
            headers={"Authorization": f"Bearer {self._secret}"} if self._secret else None,
            verify=self._certificates,
            trust_env=self._trust,
        )
        self._clients.append(client)
        return client

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


async def _whole(response: httpx.Response) -> httpx.Response:
    """An answer once all of it is here. Raises httpx.DecodingError for one that will not end."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > LONGEST_ANSWER:
            raise httpx.DecodingError(f"the answer has more than {LONGEST_ANSWER} bytes")
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in DECODED]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content))


def url_of(text: str, schemes: Mapping[str, int], what: str, default: str | None = None) -> str:
    """An address in full, without a closing slash; 0.0.0.0, the address to listen on, is 127.0.0.1.

    `default` is the scheme of one that names none, `what` says where it was expected. Raises UsageError for
    what is no address.
    """
    try:
        address = parse_address(text, schemes, default)
        if address.login is not None:
            raise ValueError("it holds a login, which would be kept; a key comes from the environment")
        port = address.port or schemes[address.scheme]
        url = replace(address, host=reached(address.host), port=port).url
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise UsageError(f"{_shown(text)!r} is not the address of {what} ({error})") from error
    return url


def _shown(text: str) -> str:
    """An address without a login."""
    return re.sub(r"(?<=//)[^/@]*@", "...@", text)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; a date, which the header may hold as well, counts as none."""
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), LONGEST_WAIT)
    except (KeyError, ValueError):
        return None


def _parameter(body: Any) -> str | None:
    """The part of a request that is refused, as OpenAI names it, or else as FastAPI does."""
    error, detail = (body.get("error"), body.get("detail")) if isinstance(body, dict) else (None, None)
    named = error.get("param") if isinstance(error, dict) else None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = detail[0].get("loc")
        named = ".".join(map(str, where[1:])) if isinstance(where, list) and where[:1] == ["body"] else None
    return named if isinstance(named, str) and named else None


def _error_text(body: Any) -> str:
    """The server's own words; `error` may be a text or an object, `detail` a list of faults."""
    error, detail = (body.get("error"), body.get("detail")) if isinstance(body, dict) else (None, None)
    if isinstance(detail, list) and detail and all(isinstance(fault, dict) for fault in detail):
        return "; ".join(f"{fault.get('msg')} ({_parameter({'detail': [fault]})})" for fault in detail)
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error or body or "").strip()
