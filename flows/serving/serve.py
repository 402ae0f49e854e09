"""A front that listens until the command is ended."""

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from flows.server.guard import Guard
from flows.server.servers import Place
from tasks.errors import StageError, UsageError
from tasks.machine.addresses import bracketed, is_loopback, reached
from tasks.serve.front import Front
from tasks.serve.fronts import Fronts

SHORTEST = 16  # characters of a key
GRACE = 2  # seconds that answers have at the end
LOOK = 0.2  # seconds between two looks at whether the server still runs


@dataclass(frozen=True)
class Listener:
    """Where the front listens; other machines may only ask with a key."""

    host: str
    port: int
    key: str | None = None

    @property
    def url(self) -> str:
        """What clients call the base URL."""
        return f"http://{bracketed(reached(self.host))}:{self.port}/v1"

    def open(self) -> socket.socket:
        """The socket, before the model is loaded. Raises UsageError when it cannot be had."""
        if not is_loopback(self.host) and not self.key:
            raise UsageError(
                f"--host {self.host} lets other machines in; name the variable that holds the key that they "
                "must bring: --api-key-env NAME"
            )
        return listening_socket(self.host, self.port)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UsageError when it cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is taken; take another: --port {port + 1}") from error
        raise UsageError(f"{host}:{port} cannot be listened at: {error}") from error
    return listening


def key_in(variable: str | None) -> str | None:
    """The API key in a variable of the environment. Raises UsageError for none, and for a weak one."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if len(key) < SHORTEST or not (key.isascii() and key.isprintable()):
        found = f"has {len(key)} characters" if key else "is not set"
        raise UsageError(
            f"--api-key-env {variable}: it {found}; expected a key of at least {SHORTEST} printable ASCII "
            "characters, as `openssl rand -hex 24` prints one"
        )
    return key


def listening(fronts: Fronts, place: Listener, at: socket.socket) -> AbstractContextManager[threading.Thread]:
    """The fronts answer while the body runs, in the thread that is given."""
    return answering(fronts.app(), Place(place.host).hosts, at, lifespan="off")


@contextmanager
def answering(
    app: ASGIApp, hosts: Sequence[str], at: socket.socket, lifespan: Literal["on", "off"]
) -> Iterator[threading.Thread]:
    """An application answers while the body runs, in the thread that is given; foreign pages are refused.

    `hosts` are the names that a request may call it by; `lifespan` says whether it is told of its beginning
    and its end.
    """
    config = uvicorn.Config(
        Guard(app, hosts),
        log_level="error",
        access_log=False,
        lifespan=lifespan,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, name="front", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        thread.join()


def wait(thread: threading.Thread) -> None:
    """Until the command is interrupted. Raises StageError when the server ends by itself."""
    while thread.is_alive():
        time.sleep(LOOK)
    raise StageError("the server ended by itself")


def instructions(
    fronts: Sequence[Front], place: Listener, variable: str | None, on_demand: int | None = None
) -> str:
    """What is served, and how to ask it: a line of curl, and two of Python."""
    lines = [
        f"{front.name} is served at {place.url}"
        + (f", context {front.context:,} tokens" if front.context else "")
        for front in fronts
    ]
    if on_demand:
        lines.append(f"what was made here is served at {place.url} on demand, {on_demand} at once")
    name = fronts[0].name if fronts else "MODEL"
    key = f' -H "Authorization: Bearer ${variable}"' if variable else ""
    of_python = f'os.environ["{variable}"]' if variable else '"none"'
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    messages = '[{"role": "user", "content": "Hello"}]'
    told = "\n".join(lines)
    return f"""\
{told}; Ctrl-C ends it

  curl {place.url}/chat/completions -H "Content-Type: application/json"{key} -d '{body}'

  client = openai.OpenAI(base_url="{place.url}", api_key={of_python})
  client.chat.completions.create(model="{name}", messages={messages})"""
