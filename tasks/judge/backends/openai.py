"""Judges behind OpenAI's protocol, `POST /chat/completions`: vLLM, llama.cpp, Ollama's own /v1, OpenAI."""

from types import TracebackType
from typing import Any, Self

from tasks.config import AskConfig
from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.judge.backends.base import Json
from tasks.judge.protocol.refusals import Refusals
from tasks.judge.protocol.replies import Answered, Identity
from tasks.judge.protocol.scoring_protocols import AskingProtocol, UnusableError
from tasks.servers.http import clean
from tasks.servers.openai import Endpoint
from tasks.servers.replies import Reply

IN_FLIGHT = 16  # such servers batch what is in flight, and do not say what waits
FINISHED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")  # reasons of an answer that is whole
THOUGHTS = ("thinking", "reasoning")  # parts of a message that lead to its text


class OpenAI:
    """One model of one server."""

    context = None  # the server's own

    def __init__(self, config: AskConfig, model: str, form: AskingProtocol) -> None:
        self.model = model
        self.first_in_flight = self.most_in_flight = config.concurrency or IN_FLIGHT
        self._config = config
        self._form = form
        self._endpoint = Endpoint(config.SECTION, model, config.base_url, config.key_variable, config.timeout)
        self.promised: int | None = None
        self.refusals = Refusals()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._endpoint.server.__aexit__(kind, error, trace)

    async def identify(self) -> Identity:
        """The server's own entry for the model; the protocol tells no digest of weights."""
        entry = await self._endpoint.entry()
        self.promised = self._endpoint.promised(entry)
        return Identity(f"openai:{self.model}", self._endpoint.digest(entry), "")

    async def alive(self) -> bool:
        return await self._endpoint.alive()

    def request(self, messages: list[Message], seed: int) -> Json:
        format_ = {}
        if self._form.schema:
            schema = {"name": self._form.name, "strict": True, "schema": self._form.schema}
            format_ = {"response_format": {"type": "json_schema", "json_schema": schema}}
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": self._form.temperature,
            "seed": seed,
            "max_tokens": self._config.max_tokens,
            **format_,
        }
        return self.refusals.without(request)

    async def send(self, request: Json) -> Reply:
        return await self._endpoint.server.post("/chat/completions", request)

    def answered(self, body: Any) -> Answered:
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise UnusableError("the server's answer holds no message")
        if choice.get("finish_reason") == "length":
            raise UnusableError(
                f"the answer was cut at its limit; {self._config.SECTION}.max_tokens is too small"
            )
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
        return self._endpoint.fatal(reply, self._config.REFUSED)

    def gone(self, reason: str | None) -> StageError:
        return self._endpoint.gone(reason)


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
