"""Judges behind OpenAI's protocol, `POST /chat/completions`: vLLM, llama.cpp, Ollama's own /v1, OpenAI."""

import os
from types import TracebackType
from typing import Any, Self

from tasks.config import AskConfig
from tasks.data.reading import Message
from tasks.errors import StageError, UnreachableError
from tasks.judge.backends.base import Json
from tasks.judge.backends.http import Server, clean, url_of
from tasks.judge.protocol.refusals import Refusals
from tasks.judge.protocol.replies import Answered, Identity, Reply
from tasks.judge.protocol.scoring_protocols import ScoringProtocol, UnusableError
from tasks.machine.addresses import WEB
from tasks.record.manifest import canonical_json, digest_of

DEFAULT_URL = "https://api.openai.com/v1"
EXPECTED = (
    "a server of OpenAI's protocol; expected something like http://gpu:8000/v1 in judge.base_url or "
    "OPENAI_BASE_URL"
)
IN_FLIGHT = 16  # such servers batch what is in flight, and do not say what waits
CONTEXTS = ("max_model_len", "context_length")  # in a model's entry, what the server holds of it
FINISHED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")  # reasons of an answer that is whole
THOUGHTS = ("thinking", "reasoning")  # parts of a message that lead to its text


class OpenAI:
    """One model of one server."""

    context = None  # the server's own

    def __init__(self, config: AskConfig, model: str, form: ScoringProtocol) -> None:
        self.model = model
        self.first_in_flight = self.most_in_flight = config.concurrency or IN_FLIGHT
        self._config = config
        self._form = form
        text = (config.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).strip()
        self.url = url_of(text, WEB, EXPECTED)
        secret = os.environ.get(config.key_variable, "").strip() or None
        if secret and not (secret.isascii() and secret.isprintable() and " " not in secret):
            raise StageError(
                f"{config.key_variable} holds no key: a key is of ASCII characters, without spaces"
            )
        if secret is None and self.url.startswith("https://api.openai.com"):
            raise StageError(f"openai:{model} at {self.url} needs a key: set {config.key_variable}")
        self._server = Server(self.url, config.timeout, secret)
        self.promised: int | None = None
        self.refusals = Refusals()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    async def identify(self) -> Identity:
        """The server's own entry for the model; the protocol tells no digest of weights."""
        reply = await self._server.get("/models")
        if reply.status is None or reply.passing:
            raise self.gone(reply.error)
        entries = reply.body.get("data") if isinstance(reply.body, dict) else None
        if reply.status in (401, 403):
            raise self.fatal(reply)
        if reply.status != 200 or not isinstance(entries, list):
            raise StageError(
                f"what answers at {self.url} does not speak OpenAI's protocol: GET /models gave "
                f"{reply.error or 'no list'}. Set judge.base_url or OPENAI_BASE_URL, up to /v1."
            )
        known = {str(entry.get("id")): entry for entry in entries if isinstance(entry, dict)}
        if self.model not in known:
            raise self._no_such_model(sorted(known))
        entry = known[self.model]
        told = [entry[name] for name in CONTEXTS if type(entry.get(name)) is int]
        self.promised = min(told, default=None)
        lasting = {name: entry.get(name) for name in ("id", "owned_by", "root", "max_model_len")}
        digest = digest_of(canonical_json({"url": self.url, "model": lasting}))
        return Identity(f"openai:{self.model}", digest, "")

    async def alive(self) -> bool:
        return (await self._server.get("/models")).status == 200

    def request(self, messages: list[Message], seed: int) -> Json:
        format_ = {}
        if self._form.schema:
            schema = {"name": self._form.name, "strict": True, "schema": self._form.schema}
            format_ = {"response_format": {"type": "json_schema", "json_schema": schema}}
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "seed": seed,
            "max_tokens": self._config.max_tokens,
            **format_,
        }
        return self.refusals.without(request)

    async def send(self, request: Json) -> Reply:
        return await self._server.post("/chat/completions", request)

    def answered(self, body: Any) -> Answered:
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise UnusableError("the server's answer holds no message")
        if choice.get("finish_reason") == "length":
            raise UnusableError("the answer was cut at its limit; judge.max_tokens is too small")
        reason = choice.get("finish_reason")
        if reason and str(reason).casefold() not in FINISHED:
            raise UnusableError(f"the answer ended for the reason {reason!r} instead of 'stop'")
        if message.get("refusal"):
            raise UnusableError(f"the model refused to answer: {clean(str(message['refusal']))[:200]}")
        text = _text_of(message.get("content"))
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        counts = [count if type(count) is int else None for count in counts]
        return Answered(text, *counts, ended=bool(reason))

    def spent(self, reply: Reply) -> tuple[float, float]:
        return reply.latency, reply.latency  # the protocol does not tell what waits

    def fatal(self, reply: Reply) -> StageError:
        if reply.status in (401, 403):
            return StageError(
                f"the server at {self.url} rejected the API key: {reply.error}. "
                f"Set {self._config.key_variable}."
            )
        if reply.status == 404:
            return self._no_such_model([])
        return StageError(f"the server at {self.url} refuses to judge: {reply.error}. Check judge.base_url.")

    def gone(self, reason: str | None) -> StageError:
        return UnreachableError(
            f"no server answers at {self.url} ({reason}). Set judge.base_url or OPENAI_BASE_URL to where one "
            "runs. Finished answers are kept; run again to continue."
        )

    def _no_such_model(self, known: list[str]) -> StageError:
        there = f"; it has {', '.join(known[:10])}" if known else ""
        return StageError(f"the server at {self.url} has no model {self.model!r}{there}")


def _text_of(content: Any) -> str:
    """A message's text, which some servers give in parts; UnusableError where another thing is among them."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = []
    for part in parts:
        kind, text = (part.get("type"), part.get("text")) if isinstance(part, dict) else ("text", part)
        if kind in ("text", "output_text") and isinstance(text, str):
            texts.append(text)
        elif kind not in THOUGHTS:
            raise UnusableError(f"a part of the message is {str(kind)[:40]!r}, which is not text")
    if not texts:
        raise UnusableError("the message has no text")
    return "".join(texts)
