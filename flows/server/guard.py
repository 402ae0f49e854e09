"""What stands in front of a server: requests that a foreign page has sent are refused before it sees them.

A page of another site can send requests to loopback through the reader's browser. By a name of its own that
it makes point here (DNS rebinding), it may read the answers too, and both headers then carry that name.
"""

import hmac
import os
from base64 import b64decode
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.server.access import HOSTS, USER, required_secret
from tasks.machine.addresses import LOOPBACK

POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
PORTS = {"http": 80, "https": 443}
OPEN = ("/health", "/version")  # asked by what watches a server, which has no secret


class Guard:
    """An ASGI application that hands on what comes from our own pages, and from clients that are no pages.

    `hosts` are the names and addresses, without ports, that a request may call the server by. With a `secret`
    a request has to bring it too, by HTTP's Basic authentication; without, the server asks for it itself.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], secret: str | None = None) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._login = f"{USER}:{secret}".encode() if secret else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 403 to a foreign page and 401 to who has not signed in."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if foreign := self._foreign(headers):
            answer = PlainTextResponse(f"{foreign}\n", 403)
        elif self._login and scope["path"] not in OPEN and not self._signed_in(headers):
            ask = {"WWW-Authenticate": f'Basic realm="Touchstone, user {USER}", charset="UTF-8"'}
            answer = PlainTextResponse("this needs the user and the secret of the server\n", 401, ask)
        else:
            return await self._app(scope, receive, _unframed(send))
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return await answer(scope, receive, send)

    def _foreign(self, headers: Headers) -> str | None:
        """What is foreign in the names that a request uses."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0]) not in self._hosts:
            return "this server is not called by that name"
        for origin in headers.getlist("origin"):
            scheme, _, place = origin.partition("://")
            if _with_port(place, scheme) != _with_port(hosts[0], scheme):
                return "this server answers no pages but its own"
        return None

    def _signed_in(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        try:
            return kind.lower() == "basic" and hmac.compare_digest(b64decode(given), self._login or b"")
        except ValueError:  # it is no base64
            return False


def _unframed(send: Send) -> Send:
    """Send with word that no foreign page may frame the answer, and have its reader click in it unknowing."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("X-Frame-Options", "SAMEORIGIN")
        await send(message)

    return told


def _name(host: str) -> str | None:
    """The name in a Host header, which may end with a port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _with_port(place: str, scheme: str) -> tuple[str | None, int | None]:
    """A name and its port, which a browser leaves out where it is the scheme's own."""
    try:
        parts = urlsplit(f"//{place}")
        return parts.hostname, parts.port or PORTS.get(scheme)
    except ValueError:
        return None, None


def told_hosts() -> list[str]:
    """The names that this server is told to go by; those of loopback when it is told none."""
    return os.environ.get(HOSTS, ",".join(LOOPBACK)).split(",")


def mlflow_app() -> ASGIApp:
    """MLflow's application behind the guard: what `mlflow server --app-name touchstone` serves.

    MLflow's own `basic-auth` keeps users and their rights in a database, which every request asks twice.
    Raises UsageError when there is no secret.
    """
    from mlflow.server.fastapi_app import app

    return Guard(app, told_hosts(), required_secret())
