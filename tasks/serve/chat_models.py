"""Models that answer a conversation piece by piece: by Transformers, by llama.cpp, and classifiers."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.batches.labelled import classifying_tokenizer
from tasks.classify.tasks import task_of
from tasks.config import GenerateConfig
from tasks.errors import StageError, UsageError
from tasks.generate.decoding import Decoder, Prompt
from tasks.machine.device import pick_device
from tasks.models.architectures import longest
from tasks.models.loading import use_fused_gelu
from tasks.rows import Row
from tasks.serve.llama_cpp import llama_cpp
from tasks.serve.models import LocalModel
from tasks.tokenize.stage import text_ids

Ended = Literal["", "stop", "length", "context"]
UNFINISHED = "\ufffd"  # what decoding gives for the first bytes of a character


class ChatSettings(BaseModel):
    """How answers are chosen; by default the likeliest token, as for the model's scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int | None, Field(ge=1)] = None
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0)] = 123

    def with_setting(self, text: str) -> Self:
        """As `temperature=0.8` says. Raises UsageError for what is no setting, or not possible."""
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or name not in type(self).model_fields:
            raise UsageError(f"{text!r} is no setting; expected one of {self.told()}")
        try:
            return type(self).model_validate({**self.model_dump(), name: None if value == "null" else value})
        except ValidationError as error:
            raise UsageError(f"{name}: {error.errors()[0]['msg']}; found {value!r}") from error

    def told(self) -> str:
        """All of them, as they are set."""
        return ", ".join(
            f"{name}={json.dumps(value, allow_nan=False)}" for name, value in self.model_dump().items()
        )

    def generation(self) -> GenerateConfig:
        """The same, as the generate stage is told."""
        drawn = {"decoding": "sample", "temperature": self.temperature, "top_p": self.top_p}
        drawn |= {"top_k": self.top_k, "seed": self.seed}
        return GenerateConfig(
            repetition_penalty=self.repetition_penalty, **(drawn if self.temperature else {})
        )


@dataclass
class Answer:
    """What a model says, and why it ended once it has."""

    pieces: Iterator[str]
    ended: Ended = ""


@dataclass(frozen=True)
class Token:
    """Of a prompt: its number, and its text."""

    id: int
    text: str


class ChatModel(Protocol):
    """A model that is ready to answer."""

    name: str
    context: float
    """Tokens of a prompt with its answer."""
    remembers: bool
    """Whether earlier turns are part of the prompt."""

    def tokens(self, row: Row) -> list[Token]:
        """What the model sees: the prompt of a conversation, token by token."""

    def answer(self, row: Row, settings: ChatSettings) -> Answer:
        """The response to a conversation whose prompt fits."""


class TransformersChat:
    """A model in this process, prompted and decoded as the generate stage does it."""

    remembers = True

    def __init__(self, model: LocalModel) -> None:
        network, self._tokenizer = model.load()
        self._network = use_fused_gelu(network).to(pick_device("auto")).eval()
        self._template = model.template
        self.name, self.context = model.name, longest(self._network)
        ends = network.generation_config.eos_token_id
        more = ends if isinstance(ends, list) else [] if ends is None else [ends]
        self._ends = frozenset([self._tokenizer.eos_token_id, *more])

    def tokens(self, row: Row) -> list[Token]:
        return [Token(one, self._tokenizer.decode([one])) for one in self._template.prompt_ids(row)]

    def answer(self, row: Row, settings: ChatSettings) -> Answer:
        ids = self._template.prompt_ids(row)
        limit = int(min(settings.max_tokens, self.context - len(ids)))
        answer = Answer(iter(()))
        answer.pieces = self._pieces(Prompt("chat", ids, limit), settings, answer)
        return answer

    def _pieces(self, prompt: Prompt, settings: ChatSettings, answer: Answer) -> Iterator[str]:
        decoder = Decoder(self._network, settings.generation(), self._ends)
        ids: list[int] = []
        said = ""
        for token in decoder.stream(prompt):
            ids.append(token)
            text = self._template.response(ids)
            if text.startswith(said) and not text.endswith(UNFINISHED):
                yield text[len(said) :]
                said = text
        whole = self._template.response(ids)
        if whole.startswith(said):
            yield whole[len(said) :]
        full = len(prompt.ids) + len(ids) >= self.context
        answer.ended = "stop" if ids[-1] in self._ends else "context" if full else "length"


class LlamaCppChat:
    """A GGUF file, by llama.cpp: with its own template, which takes special tokens in words for special."""

    remembers = True

    def __init__(self, model: LocalModel, stack: ExitStack, context: int | None = None) -> None:
        server = stack.enter_context(llama_cpp(model.path, model.name, context=context))
        self.name, self.context = model.name, server.context
        self._client = stack.enter_context(
            httpx.Client(
                base_url=server.address,
                headers=server.headers,
                timeout=httpx.Timeout(None, connect=10),
                limits=httpx.Limits(max_keepalive_connections=0),
                trust_env=False,
            )
        )

    def tokens(self, row: Row) -> list[Token]:
        prompt = self._asked("/apply-template", {"messages": _messages(row)})["prompt"]
        body = {"content": prompt, "add_special": True, "parse_special": True, "with_pieces": True}
        return [Token(one["id"], _piece(one["piece"])) for one in self._asked("/tokenize", body)["tokens"]]

    def answer(self, row: Row, settings: ChatSettings) -> Answer:
        answer = Answer(iter(()))
        answer.pieces = self._pieces(row, settings, answer)
        return answer

    def _pieces(self, row: Row, settings: ChatSettings, answer: Answer) -> Iterator[str]:
        said = settings.model_dump(exclude={"repetition_penalty"}) | {"min_p": 0.0}
        said |= {"top_k": settings.top_k or 0, "repeat_penalty": settings.repetition_penalty}
        room = int(self.context) - len(self.tokens(row))
        said["max_tokens"] = min(settings.max_tokens, room)
        body = {**said, "messages": _messages(row), "stream": True}
        with self._client.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.is_error:
                raise StageError(f"llama.cpp answers: {reply.read().decode(errors='replace')}")
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                for choice in json.loads(line.removeprefix("data: ")).get("choices", ()):
                    yield choice["delta"].get("content") or ""
                    if choice["finish_reason"] == "length":
                        answer.ended = "context" if room <= settings.max_tokens else "length"
                    elif choice["finish_reason"]:
                        answer.ended = "stop"

    def _asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._client.post(path, json=body)
        if reply.is_error:
            raise StageError(f"llama.cpp answers: {reply.text}")
        return reply.json()


class ClassifierChat:
    """A classifier: its answer to a text is what its task gives, whatever was said before."""

    remembers = False

    def __init__(self, model: LocalModel) -> None:
        self._task = task_of(model.task)
        self._network = self._task.load(model.path).eval()
        self._tokenizer = classifying_tokenizer(model.path)
        self.name = model.name
        self.context = min(longest(self._network), self._tokenizer.model_max_length or math.inf)

    def tokens(self, row: Row) -> list[Token]:
        ids = text_ids(self._tokenizer, [row["instruction"]])[0]
        return [Token(one, self._tokenizer.decode([one])) for one in ids]

    def answer(self, row: Row, _settings: ChatSettings) -> Answer:
        told = self._task.answer(self._network, self._tokenizer, row["instruction"])
        return Answer(iter([told]), "stop")


def open_chat(model: LocalModel, stack: ExitStack) -> ChatModel:
    """The model, ready to answer until the stack is closed."""
    if model.is_gguf:
        return LlamaCppChat(model, stack)
    return ClassifierChat(model) if model.task else TransformersChat(model)


def _messages(row: Row) -> list[dict[str, str]]:
    return [*row.get("messages", ()), {"role": "user", "content": row["instruction"]}]


def _piece(piece: str | Sequence[int]) -> str:
    """llama.cpp gives the bytes of a token that is no whole character."""
    return piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")
