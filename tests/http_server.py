"""A loopback HTTP server with faults: each path answers with its replies in turn, the last one for ever."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    etag: str | None = '"v1"'
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    """Whether a Range (with an If-Range that fits) is honoured."""
    cut: int | None = None
    """Close the connection after so many bytes of the body, which declares its whole length."""
    length: bool = True
    """Whether Content-Length is sent; without it, closing the connection ends the body."""
    drip: float = 0
    """Seconds between two bytes of the body."""
    shift: int = 0
    """Content-Range claims another first byte than the one that was asked for."""


@dataclass
class Request:
    path: str
    headers: dict[str, str]


class FaultyServer:
    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[Request] = []
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                faulty.requests.append(Request(self.path, dict(self.headers)))
                faulty.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args) -> None:
                """Nothing on standard error."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def on(self, path: str, *replies: Reply) -> str:
        self.replies[path] = list(replies)
        return self.url + path

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        turns = self.replies.get(handler.path.partition("?")[0], [Reply(status=404)])
        reply = turns.pop(0) if len(turns) > 1 else turns[0]
        start = self._start(handler, reply)
        if start is not None and start >= len(reply.body):
            self._head(handler, 416, {"Content-Range": f"bytes */{len(reply.body)}", "Content-Length": "0"})
            return
        headers = dict(reply.headers) | ({"ETag": reply.etag} if reply.etag else {})
        body = reply.body[start or 0 :]
        if start is not None:
            last, total = len(reply.body) - 1, len(reply.body)
            headers["Content-Range"] = f"bytes {start + reply.shift}-{last + reply.shift}/{total}"
        if reply.length:
            headers["Content-Length"] = str(len(body))
        self._head(handler, reply.status if start is None else 206, headers)
        if handler.command == "GET":
            with suppress(ConnectionError):  # a client may have had enough
                for byte in body[: reply.cut] if reply.drip else ():
                    handler.wfile.write(bytes([byte]))
                    time.sleep(reply.drip)
                if not reply.drip:
                    handler.wfile.write(body[: reply.cut])

    def _start(self, handler: BaseHTTPRequestHandler, reply: Reply) -> int | None:
        asked = handler.headers.get("Range")
        fits = handler.headers.get("If-Range") in (None, reply.etag, reply.headers.get("Last-Modified"))
        if asked is None or not reply.ranges or not fits or reply.status != 200:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _head(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()  # HTTP/1.0: the connection is closed after the body

    @contextmanager
    def running(self) -> Iterator["FaultyServer"]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()
