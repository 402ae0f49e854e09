"""A loopback server that speaks Ollama's wire protocol, with slots, latency, faults and a judge inside.

It behaves as Ollama 0.32 does where a client can tell: what overflows the context is refused or, unless
`truncate` and `shift` are off, silently cut; requests beyond the slots wait, and beyond the queue get 503;
errors are `{"error": "..."}`. A token is four characters here.

    with OllamaServer(judge=honest, faults=[Fault("503", times=2)]) as server:
        os.environ["OLLAMA_HOST"] = server.address
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

CHARACTERS_PER_TOKEN = 4
DEFAULT_CONTEXT = 4096
DEFAULT_KEEP = 4  # num_keep
BUSY = "server busy, please try again.  maximum pending requests exceeded"
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)

FaultKind = Literal[
    "429",  # too many requests, as a proxy before the server says
    "500",  # the runner failed
    "503",  # the queue is full
    "400",  # refused as too long, whatever its length
    "404",  # the model was removed
    "stall",  # no answer before the client gives up
    "drop",  # the connection is closed without an answer
    "die",  # the whole server is gone, for good
    "cut_json",  # num_predict reached: done_reason "length"
    "not_done",  # done: false with status 200, after repeated tokens
    "loading",  # done_reason "load" and no text
    "cut_prompt",  # the prompt is cut although truncate and shift are off
    "no_count",  # no prompt_eval_count, as before 0.2
    "garbage",  # the model's text is not JSON
    "broken_body",  # a 200 that is not JSON
    "error_body",  # a 200 with an error in it
    "score_90",  # off the scale
    "score_-1",
    "score_true",
    "score_4.0",
    "score_text",
    "score_null",
    "score_twice",  # two scores in one object
    "only_score",  # no reason
    "half_character",  # a good score, and a reason that UTF-8 cannot hold
]

CONTENTS: dict[str, str] = {
    "garbage": "I would give this response a score of 90 out of 100.",
    "score_90": '{"reason": "Good.", "score": 90}',
    "score_-1": '{"reason": "Bad.", "score": -1}',
    "score_true": '{"reason": "Good.", "score": true}',
    "score_4.0": '{"reason": "Good.", "score": 4.0}',
    "score_text": '{"reason": "Good.", "score": "4"}',
    "score_null": '{"reason": "Good.", "score": null}',
    "score_twice": '{"reason": "Good.", "score": 0, "score": 5}',
    "only_score": '{"score": 4}',
    "cut_json": '{"reason": "The response is',
    "half_character": '{"reason": "Good \\ud83d", "score": 4}',
}


@dataclass
class Fault:
    """What goes wrong with the next `times` chats whose text holds `containing`; None is every one."""

    kind: FaultKind
    times: int | None = 1
    containing: str = ""


@dataclass(frozen=True)
class Fenced:
    """What a judge reads out of a prompt by its fences; absent parts are empty."""

    instruction: str = ""
    input: str = ""
    reference: str = ""
    response: str = ""


FENCE = re.compile(r"<(instruction|input|reference|response)-([0-9a-f]{16})>\n(.*?)\n</\1-\2>", re.DOTALL)


def fenced(messages: list[dict[str, str]]) -> Fenced:
    text = "\n".join(message["content"] for message in messages)
    return Fenced(**{name: content for name, _, content in FENCE.findall(text)})


Judge = Callable[[Fenced], int]


def honest(row: Fenced) -> int:
    """Similarity to the reference, on the scale from 0 to 5."""
    ratio = SequenceMatcher(None, row.response.casefold(), row.reference.casefold(), autojunk=False).ratio()
    return round(5 * ratio)


def always_top(_: Fenced) -> int:
    return 5


def obedient(row: Fenced) -> int:
    """Honest until the response tells it otherwise."""
    told = re.search(
        r"ignore|full marks|\b(?:give|assign|award)\b.*\b(?:5|100|highest)\b|score.{0,5}5",
        row.response,
        re.I | re.S,
    )
    return 5 if told else honest(row)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    body: dict[str, Any]

    @property
    def text(self) -> str:
        return "\n".join(str(message.get("content", "")) for message in self.body.get("messages", []))


@dataclass
class OllamaServer:
    """The server, as a context manager; give `port` to come back where an earlier one was."""

    judge: Judge = honest
    faults: Iterable[Fault] = ()
    models: tuple[str, ...] = ("llama3.2:latest",)
    digest: str = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"
    version: str = "0.32.15"
    slots: int = 1  # OLLAMA_NUM_PARALLEL
    queue: int = 512  # OLLAMA_MAX_QUEUE
    latency: float = 0.0  # seconds of one answer, in a slot
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    most_in_flight: int = 0

    def __enter__(self) -> Self:
        self.faults = list(self.faults)
        self.dead = threading.Event()
        self._lock = threading.Lock()
        self.running = threading.Semaphore(self.slots)
        self._in_flight = 0
        self._http = _Server(("127.0.0.1", self.port), self)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away for good: no connection is taken any more, and open ones are dropped."""
        with self._lock:
            if self.dead.is_set():
                return
            self.dead.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        """For OLLAMA_HOST."""
        return f"127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/api/chat"]

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def next_fault(self, request: Request) -> FaultKind | None:
        with self._lock:
            for fault in self.faults:
                if fault.times != 0 and fault.containing in request.text:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault.kind
        return None

    def admit(self) -> bool:
        """Take a place in the slots or in the queue, or say that there is none."""
        with self._lock:
            if self._in_flight >= self.slots + self.queue:
                return False
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            return True

    def leave(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def has_model(self, name: str) -> bool:
        return (name if ":" in name.rpartition("/")[2] else f"{name}:latest") in self.models

    def description(self, name: str) -> dict[str, Any]:
        """A model as `/api/tags` lists it."""
        return {
            "name": name,
            "model": name,
            "modified_at": "2025-01-01T00:00:00Z",
            "size": 2019393189,
            "digest": self.digest,
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "3.2B",
                "quantization_level": "Q4_K_M",
            },
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], ollama: OllamaServer) -> None:
        self.ollama = ollama
        super().__init__(address, _Handler)

    def handle_error(self, *_: object) -> None:
        """Clients that leave early are part of the trials."""


class _DroppedError(Exception):
    """Close the connection without an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        ollama = self.server.ollama
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if ollama.dead.is_set():
                raise _DroppedError
            try:
                body = json.loads(raw) if raw else {}
            except ValueError as error:
                return self._send(400, {"error": str(error)})
            request = Request(method, self.path, body)
            ollama.record(request)
            route = {
                ("GET", "/api/version"): self._version,
                ("GET", "/api/tags"): self._tags,
                ("GET", "/api/ps"): self._ps,
                ("POST", "/api/show"): self._show,
                ("POST", "/api/pull"): self._pull,
                ("POST", "/api/chat"): self._chat,
            }.get((method, self.path))
            if route is None:
                return self._send_bytes(404, b"404 page not found", "text/plain")
            return route(request)
        except _DroppedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, value: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def _send_lines(self, values: Iterable[dict[str, Any]]) -> None:
        lines = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        self._send_bytes(200, lines, "application/x-ndjson")

    def _send_bytes(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    # The small ones

    def _version(self, _: Request) -> None:
        self._send(200, {"version": self.server.ollama.version})

    def _tags(self, _: Request) -> None:
        ollama = self.server.ollama
        self._send(200, {"models": [ollama.description(name) for name in ollama.models]})

    def _ps(self, _: Request) -> None:
        ollama = self.server.ollama
        loaded = {"expires_at": "2100-01-01T00:00:00Z", "size_vram": 0, "context_length": DEFAULT_CONTEXT}
        self._send(200, {"models": [ollama.description(name) | loaded for name in ollama.models]})

    def _show(self, request: Request) -> None:
        name = str(request.body.get("model", ""))
        if not self.server.ollama.has_model(name):
            return self._send(404, {"error": f"model '{name}' not found"})
        return self._send(
            200,
            {
                "modelfile": f"FROM {name}",
                "parameters": 'stop "<|eot_id|>"',
                "template": "{{ .Prompt }}",
                "details": self.server.ollama.description(name)["details"],
                "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
                "capabilities": ["completion"],
            },
        )

    def _pull(self, request: Request) -> None:
        """While streaming, an error arrives as a line in a 200."""
        ollama, name = self.server.ollama, str(request.body.get("model", ""))
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if "missing" in name:
            return self._send_lines([*steps, {"error": "pull model manifest: file does not exist"}])
        digest = f"sha256:{ollama.digest}"
        steps += [
            {"status": f"pulling {ollama.digest[:12]}", "digest": digest, "total": 100, "completed": done}
            for done in (50, 100)
        ]
        ollama.models += (name if ":" in name else f"{name}:latest",)
        return self._send_lines([*steps, {"status": "verifying sha256 digest"}, {"status": "success"}])

    # Chat

    def _chat(self, request: Request) -> None:
        ollama, body = self.server.ollama, request.body
        name = str(body.get("model", ""))
        fault = ollama.next_fault(request)
        if fault == "404" or not ollama.has_model(name):
            return self._send(404, {"error": f"model '{name}' not found"})
        if fault in ("429", "500", "503"):
            errors = {"429": "too many requests", "500": "llama runner process has terminated", "503": BUSY}
            return self._send(int(fault), {"error": errors[fault]})
        if fault == "die":
            threading.Thread(target=ollama.stop, daemon=True).start()
            ollama.dead.wait()
        if fault == "stall":
            ollama.dead.wait(30)
        if fault in ("drop", "die", "stall"):
            raise _DroppedError
        if wrong := _wrong_option(body):
            return self._send(500, {"error": wrong})
        if not ollama.admit():
            return self._send(503, {"error": BUSY})
        try:
            with ollama.running:
                time.sleep(ollama.latency)
                return self._complete(request, fault)
        finally:
            ollama.leave()

    def _complete(self, request: Request, fault: FaultKind | None) -> None:
        body = request.body
        context = body.get("options", {}).get("num_ctx", DEFAULT_CONTEXT)
        prompt = -(-len(request.text) // CHARACTERS_PER_TOKEN)
        overflows = prompt >= context
        shifting = body.get("shift", True) and body.get("truncate", True)
        if fault == "400" or (overflows and not shifting):
            return self._send(400, {"error": TOO_LONG})
        if overflows:
            prompt = context - max((context - DEFAULT_KEEP) // 2, 1)
        if fault == "cut_prompt":
            prompt = prompt // 4
        if fault == "broken_body":
            return self._send_bytes(200, b"<html>upstream</html>", "text/html")
        if fault == "error_body":
            return self._send(200, {"error": "an error was encountered while running the model"})
        content, reason = self._content(request, fault)
        answer = {
            "model": body["model"],
            "created_at": "2025-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", "content": content},
            "done": fault != "not_done",
            "done_reason": reason,
            "total_duration": int(1e9 * self.server.ollama.latency) + 5_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": 2_000_000,
            "eval_count": -(-len(content) // CHARACTERS_PER_TOKEN),
            "eval_duration": 2_000_000,
        }
        if fault == "not_done":
            answer = {key: answer[key] for key in ("model", "created_at", "message", "done")}
        if fault == "no_count":
            del answer["prompt_eval_count"]
        if body.get("stream", True):
            first = {key: answer[key] for key in ("model", "created_at", "message")} | {"done": False}
            last = answer | {"message": {"role": "assistant", "content": ""}}
            return self._send_lines([first, last])
        return self._send(200, answer)

    def _content(self, request: Request, fault: FaultKind | None) -> tuple[str, str]:
        """The model's text, and why it ended."""
        if fault == "loading" or not request.body.get("messages"):
            return "", "load"
        if fault in CONTENTS:
            return CONTENTS[fault], "length" if fault == "cut_json" else "stop"
        if fault == "not_done":
            return '{"reason": "the the the the the the', "stop"
        score = self.server.ollama.judge(fenced(request.body["messages"]))
        content = json.dumps({"reason": f"It deserves {score} of 5.", "score": score})
        if not request.body.get("format"):
            content = f"I would give this response {score} of 5."
        limit = request.body.get("options", {}).get("num_predict", -1)
        if 0 <= limit * CHARACTERS_PER_TOKEN < len(content):
            return content[: limit * CHARACTERS_PER_TOKEN], "length"
        return content, "stop"


def _wrong_option(body: dict[str, Any]) -> str | None:
    """What Ollama answers 500 to: an option of the wrong type, a format that is none."""
    for name in ("num_ctx", "num_predict", "seed"):
        if type(body.get("options", {}).get(name, 0)) is not int:
            return f'option "{name}" must be of type integer'
    wanted = body.get("format")
    if wanted not in (None, "", "json") and not isinstance(wanted, dict):
        return f'invalid format: {wanted!r}; expected "json" or a valid JSON Schema object'
    return None
