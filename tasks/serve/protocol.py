"""OpenAI's protocol: what a request may say, and what is answered.

https://platform.openai.com/docs/api-reference/chat and .../completions
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.machine.json_files import Json

Tokens = Annotated[int, Field(ge=0)]


class ProtocolError(Exception):
    """A request that is answered with an error, in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message, code, param)
        self.message = message
        self.status, self.code, self.param = status, code, param

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> Json:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Strict):
    include_usage: bool = False


class _Asked(_Strict):
    """What both kinds of requests may say. Nothing that is left out makes an answer random."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, description="of llama.cpp and vLLM: 0 draws from all")] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, description="of the same")] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    n: Literal[1] | None = None
    user: str | None = None

    def sampling(self) -> Json:
        """As a request to the engine has it."""
        names = ("max_tokens", "top_p", "top_k", "min_p", "seed", "stop")
        names += ("frequency_penalty", "presence_penalty")
        said = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return said | {"temperature": self.temperature or 0.0, "stream": self.stream}


class Part(_Strict):
    """A piece of a message that is text; there are no others here."""

    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    """A turn; `input` is Alpaca's section of that name, which OpenAI's protocol does not have."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    input: str = ""

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class Schema(_Strict):
    name: str = ""
    description: str | None = None
    strict: bool | None = None
    json_schema: Annotated[Json, Field(alias="schema")]


class ResponseFormat(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class ChatAsked(_Asked):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None

    def sampling(self) -> Json:
        said = super().sampling()
        if self.max_completion_tokens is not None:
            said["max_tokens"] = self.max_completion_tokens
        wanted = self.response_format
        if wanted and wanted.type == "json_object":
            said["json_schema"] = {"type": "object"}
        if wanted and wanted.json_schema:
            said["json_schema"] = wanted.json_schema.json_schema
        return said

    def row(self) -> Json:
        """The conversation as a row to respond to. Raises ProtocolError for turns that no row has."""
        *before, last = self.messages
        if last.role != "user":
            raise ProtocolError(400, "the last message must be the user's", param="messages")
        if any(message.role in ("system", "developer") for message in before[1:]):
            raise ProtocolError(400, "a system message must be the first", param="messages")
        turns = [
            {"role": "system" if one.role == "developer" else one.role, "content": one.text}
            | ({"input": one.input} if one.input else {})
            for one in before
        ]
        return {"messages": turns, "instruction": last.text, "input": last.input}


class CompletionAsked(_Asked):
    """`POST /v1/completions`; a prompt is a text, or its tokens."""

    prompt: str | list[int]


def parse(kind: type[_Asked], body: Any) -> Any:
    """Raises ProtocolError that names the field for what is not known or not possible."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            message = f"{field!r} is not known here; known are {known}"
        else:
            message = f"{field or 'the request'}: {first['msg']}; found {first['input']!r}"[:500]
        raise ProtocolError(400, message, param=field or None) from error


def as_chat(completion: Mapping[str, Any]) -> Json:
    """A whole completion as the answer to a chat."""
    choices = [
        {
            "index": one["index"],
            "message": {"role": "assistant", "content": one["text"], "refusal": None},
            "logprobs": None,
            "finish_reason": one["finish_reason"],
        }
        for one in completion["choices"]
    ]
    return {**_own(completion), "object": "chat.completion", "choices": choices, "usage": completion["usage"]}


def as_completion(completion: Mapping[str, Any]) -> Json:
    """A completion without what only one engine tells."""
    found = {**_own(completion), "object": "text_completion", "choices": completion["choices"]}
    return found | ({"usage": completion["usage"]} if completion.get("usage") else {})


def as_chat_chunk(chunk: Mapping[str, Any], *, first: bool) -> Json:
    """A piece of a completion as a piece of the answer to a chat."""
    choices = [
        {
            "index": one["index"],
            "delta": ({"role": "assistant"} if first else {})
            | ({"content": one["text"]} if one["text"] else {}),
            "finish_reason": one["finish_reason"],
        }
        for one in chunk["choices"]
    ]
    return {**_own(chunk), "object": "chat.completion.chunk", "choices": choices}


def usage_chunk(chunk: Mapping[str, Any], usage: Json, kind: str) -> Json:
    """The last piece, which `stream_options.include_usage` asks for."""
    return {**_own(chunk), "object": kind, "choices": [], "usage": usage}


def _own(completion: Mapping[str, Any]) -> Json:
    return {name: completion[name] for name in ("id", "created", "model")}
