"""A loopback server that speaks Ollama's wire protocol, with slots, latency, faults and a judge inside.

It behaves as Ollama 0.32 does where a client can tell: what overflows the context is refused or, unless
`truncate` and `shift` are off, silently cut; no context is longer than what the model was trained with;
requests beyond the slots wait, and beyond the queue get 503; errors are `{"error": "..."}`. A token is four
characters here.

    with OllamaServer(judge=honest, faults=[Fault("503", times=2)]) as server:
        os.environ["OLLAMA_HOST"] = server.address
"""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from tests.chat_server import (
    ChatServer,
    FaultKind,
    Json,
    Request,
    Response,
    json_response,
    left_of,
    tokens_in,
)
from tests.go_template import render
from tests.judges import token_logprobs

DEFAULT_CONTEXT = 4096
BUSY = "server busy, please try again.  maximum pending requests exceeded"
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)
UNREADY = {"429": "too many requests", "500": "llama runner process has terminated", "503": BUSY}
PULL_STEPS = 10
CREATED = "2025-01-01T00:00:00.000000Z"


@dataclass
class OllamaServer(ChatServer):
    """`slots` is OLLAMA_NUM_PARALLEL and `queue` OLLAMA_MAX_QUEUE; `address` is for OLLAMA_HOST.

    Models with "missing" in their name cannot be pulled; with `pull_error` no model can, which is noticed
    halfway.
    """

    digest: str = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"
    size: int = 2019393189  # bytes of each model
    version: str = "0.32.15"
    context_length: int = 8192  # tokens that the models were trained with
    pull_seconds: float = 0.0
    pull_error: str | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)  # by digest
    created: dict[str, "CreatedModel"] = field(default_factory=dict)

    chat_path: ClassVar[str] = "/api/chat"
    foreign_faults: ClassVar[frozenset[FaultKind]] = frozenset({"null", "refusal", "parts", "picture"})

    def error(self, status: int, message: str, code: str | None = None, **headers: str) -> Response:
        return json_response(status, {"error": message}, **headers)

    async def answer(self, request: Request) -> Response:
        match request.method, request.path:
            case "GET", "/api/version":
                return json_response(200, {"version": self.version})
            case "GET", "/api/tags":
                return json_response(200, {"models": [self._description(name) for name in self.models]})
            case "GET", "/api/ps":
                return self._ps()
            case "POST", "/api/show":
                return self._show(request)
            case "POST", "/api/pull":
                return await self._pull(request)
            case "HEAD" | "POST", path if path.startswith("/api/blobs/"):
                return self._blob(request, path.rpartition("/")[2])
            case "POST", "/api/create":
                return self._create(request)
            case "POST", self.chat_path:
                return await self._chat(request)
        return Response(404, b"404 page not found", "text/plain")

    def has_model(self, name: str) -> bool:
        return _tagged(name) in self.models

    def _not_found(self, name: str) -> Response:
        return self.error(404, f"model '{name}' not found")

    def _description(self, name: str) -> Json:
        """A model as `/api/tags` lists it."""
        return {
            "name": name,
            "model": name,
            "modified_at": "2025-01-01T00:00:00Z",
            "size": self.size,
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

    def _ps(self) -> Response:
        loaded = {"expires_at": "2100-01-01T00:00:00Z", "size_vram": 0, "context_length": DEFAULT_CONTEXT}
        return json_response(200, {"models": [self._description(name) | loaded for name in self.models]})

    def _show(self, request: Request) -> Response:
        name = str(request.body.get("model", ""))
        if not self.has_model(name):
            return self._not_found(name)
        architecture = {"general.architecture": "llama", "llama.context_length": self.context_length}
        shown = {
            "modelfile": f"FROM {name}",
            "parameters": 'stop "<|eot_id|>"',
            "template": "{{ .Prompt }}",
            "details": self._description(name)["details"],
            "model_info": architecture,
            "capabilities": ["completion"],
        }
        return json_response(200, shown)

    # Pull

    async def _pull(self, request: Request) -> Response:
        lines = self._pulling(str(request.body.get("model", "")))
        if request.body.get("stream", True):
            return Response(200, _encoded(lines), "application/x-ndjson")
        async for line in lines:
            last = line
        return json_response(500 if "error" in last else 200, last)

    async def _pulling(self, name: str) -> AsyncIterator[Json]:
        """While streaming, an error arrives as a line in a 200."""
        yield {"status": "pulling manifest"}
        if "missing" in name:
            yield {"error": "pull model manifest: file does not exist"}
            return
        layer = {
            "status": f"pulling {self.digest[:12]}",
            "digest": f"sha256:{self.digest}",
            "total": self.size,
        }
        yield layer
        for step in range(1, PULL_STEPS + 1):
            await asyncio.sleep(self.pull_seconds / PULL_STEPS)
            if self.pull_error is not None and step > PULL_STEPS // 2:
                yield {"error": self.pull_error}
                return
            yield layer | {"completed": self.size * step // PULL_STEPS}
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        if not self.has_model(name):
            self.models += (_tagged(name),)
        yield {"status": "success"}

    # Create

    def _blob(self, request: Request, digest: str) -> Response:
        if request.method == "HEAD":
            return Response(200 if digest in self.blobs else 404, b"")
        found = f"sha256:{hashlib.sha256(request.raw).hexdigest()}"
        if found != digest:
            return self.error(400, f'digest mismatch, expected "{digest}", got "{found}"')
        self.blobs[digest] = request.raw
        return Response(201, b"")

    def _create(self, request: Request) -> Response:
        body = request.body
        ((name, digest),) = body["files"].items()
        if digest not in self.blobs:
            return self.error(400, f"invalid digest format or missing blob: {name}")
        if not self.blobs[digest].startswith(b"GGUF"):
            return self.error(400, "unsupported content type or no GGUF file")
        self.created[_tagged(body["model"])] = CreatedModel.of(self.blobs[digest], body)
        self.models += (_tagged(body["model"]),)
        return json_response(200, {"status": "success"})

    # Chat

    async def _chat(self, request: Request) -> Response:
        body, options = request.body, request.body.get("options") or {}
        name = str(body.get("model", ""))
        fault = self.next_fault(request)
        if fault == "404" or not self.has_model(name):
            return self._not_found(name)
        if fault == "401":
            return self.error(401, "unauthorized")
        if fault in UNREADY:
            return self.busy(int(fault), UNREADY[fault])
        await self.lose_if(fault)
        if wrong := _wrong_option(body):
            return self.error(500, wrong)
        context = min(options.get("num_ctx", DEFAULT_CONTEXT), self.context_length)
        overflows = request.tokens >= context
        shifting = body.get("shift", True) and body.get("truncate", True)
        if fault == "400" or (overflows and not shifting):
            return self.error(400, TOO_LONG)
        prompt = left_of(context) if overflows else request.tokens
        if own := self.created.get(_tagged(name)):
            prompt = own.tokens(request.messages)
        if fault == "cut_prompt":
            prompt = request.tokens // 4
        content, reason = self._content(request, fault)
        turn = await self.turn()
        if turn is None:
            return self.busy(503, BUSY)
        if fault == "broken_body":
            return Response(200, b"<html>upstream</html>", "text/html")
        if fault == "error_body":
            return self.error(200, "an error was encountered while running the model")
        worked = int(1e9 * turn.worked)
        load, read = worked // 100, worked // 20
        answer = {
            "model": body["model"],
            "created_at": CREATED,
            "message": {"role": "assistant", "content": content},
            "done": fault != "not_done",
            "done_reason": reason,
            "total_duration": int(1e9 * turn.waited) + worked,
            "load_duration": load,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": read,
            "eval_count": tokens_in(content),
            "eval_duration": worked - load - read,
        }
        if body.get("logprobs"):
            answer["logprobs"] = token_logprobs(content, body.get("top_logprobs", 0))
        if fault == "not_done":
            answer = {key: answer[key] for key in ("model", "created_at", "message", "done")}
        if fault == "no_count":
            del answer["prompt_eval_count"]
        if fault == "no_reason":
            del answer["done_reason"]
        return _streamed(answer) if body.get("stream", True) else json_response(200, answer)

    def _content(self, request: Request, fault: FaultKind | None) -> tuple[str, str]:
        """The model's text, and why it ended."""
        if fault == "loading" or not request.messages:
            return "", "load"
        if fault == "not_done":
            return '{"reason": "the the the the the the', "stop"
        options = request.body.get("options") or {}
        structured = bool(request.body.get("format"))
        return self.words(request, fault, options.get("num_predict", -1), structured, options.get("seed", 0))


@dataclass
class CreatedModel:
    """A model of `/api/create`: its prompts are made by its Go template, and counted by its file's tokens."""

    template: str
    system: str | None
    tokenizer: Tokenizer

    @classmethod
    def of(cls, blob: bytes, body: Json) -> "CreatedModel":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "blob")
            path.write_bytes(blob)
            known = {name: own.contents() for name, own in gguf.GGUFReader(path).fields.items()}
        tokens, types = known["tokenizer.ggml.tokens"], known["tokenizer.ggml.token_type"]
        merges = [tuple(merge.split(" ")) for merge in known["tokenizer.ggml.merges"]]
        tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        special = [
            AddedToken(token, special=True)
            for token, kind in zip(tokens, types, strict=True)
            if kind == gguf.TokenType.CONTROL
        ]
        tokenizer.add_special_tokens(special)
        return cls(body["template"], body.get("system"), tokenizer)

    def tokens(self, messages: list[Json]) -> int:
        if self.system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        turns = [{"Role": one["role"], "Content": one["content"]} for one in messages]
        system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
        prompt = render(self.template, Messages=turns, System=system)
        return len(self.tokenizer.encode(prompt, add_special_tokens=False).ids)


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"


async def _encoded(values: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    async for value in values:
        yield _line(value)


def _streamed(answer: Json) -> Response:
    """The text in a first line, and the end with its numbers in a second."""
    first = {key: answer[key] for key in ("model", "created_at", "message")} | {"done": False}
    last = answer | {"message": {"role": "assistant", "content": ""}}
    return Response(200, _line(first) + _line(last), "application/x-ndjson")


def _wrong_option(body: Json) -> str | None:
    """What Ollama answers 500 to: an option of the wrong type, a format that is none."""
    for name in ("num_ctx", "num_predict", "seed"):
        if type((body.get("options") or {}).get(name, 0)) is not int:
            return f'option "{name}" must be of type integer'
    wanted = body.get("format")
    if wanted not in (None, "", "json") and not isinstance(wanted, dict):
        return f'invalid format: {wanted!r}; expected "json" or a valid JSON Schema object'
    return None
