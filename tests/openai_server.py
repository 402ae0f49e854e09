"""A loopback server that speaks OpenAI's chat completions, as vLLM, llama.cpp and Ollama's own /v1 do.

Slots, queue, latency and faults are those of `tests.chat_server`. A refused key comes back in the error, as
it does from OpenAI. A token is four characters here.

    with OpenAIServer(key="sk-test", models=("qwen3-8b",)) as server:
        httpx.post(f"{server.url}/chat/completions", headers={"Authorization": "Bearer sk-test"}, json=...)
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

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
from tests.judges import token_logprobs

CREATED = 1735689600
UNREADY = {
    "429": (429, "Rate limit reached for requests", "rate_limit_exceeded"),
    "500": (500, "The server had an error while processing your request", None),
    "503": (503, "The server is overloaded, please try again later", None),
    "loading": (503, "Loading model", None),
}
KINDS = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


Part = Literal["max_tokens", "max_completion_tokens", "temperature", "seed", "json_schema", "json_object"]
REFUSALS: dict[Part, tuple[str, str | None, str | None]] = {  # OpenAI's words, their parameter and code
    "max_tokens": (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
        "instead.",
        "max_tokens",
        "unsupported_parameter",
    ),
    "max_completion_tokens": (
        "Unrecognized request argument supplied: max_completion_tokens",
        None,
        None,
    ),
    "temperature": (
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
        "supported.",
        "temperature",
        "unsupported_value",
    ),
    "seed": ("Unrecognized request argument supplied: seed", None, None),
    "json_schema": (
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn "
        "more about supported models at the Structured Outputs guide: "
        "https://platform.openai.com/docs/guides/structured-outputs",
        None,
        None,
    ),
    "json_object": (
        "Invalid parameter: 'response_format' of type 'json_object' is not supported with this model.",
        "response_format",
        None,
    ),
}


@dataclass
class OpenAIServer(ChatServer):
    """With `key`, requests need it; `silently_cuts` is Ollama's way with a prompt that is too long.

    Parts of a request that the server `refuses` are refused in OpenAI's words or, with `strict`, as FastAPI
    refuses what a model has no field for. `entry` is what it tells of each model besides its name.
    """

    models: tuple[str, ...] = ("llama-3.2-3b-instruct",)
    retry_after: str | None = "1"
    key: str | None = None
    context_length: int = 4096
    silently_cuts: bool = False
    refuses: tuple[Part, ...] = ()
    strict: bool = False
    entry: Json = field(default_factory=dict)

    chat_path: ClassVar[str] = "/v1/chat/completions"
    foreign_faults: ClassVar[frozenset[FaultKind]] = frozenset({"not_done"})

    @property
    def url(self) -> str:
        """What clients call the base URL."""
        return f"http://{self.address}/v1"

    def error(
        self, status: int, message: str, code: str | None = None, param: str | None = None, **headers: str
    ) -> Response:
        told = {"message": message, "type": KINDS.get(status, "server_error"), "param": param, "code": code}
        return json_response(status, {"error": told}, **headers)

    async def answer(self, request: Request) -> Response:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return self._not_the_key(request)
        match request.method, request.path:
            case "GET", "/v1/models":
                entries = [
                    {"id": name, "object": "model", "created": CREATED, "owned_by": "library"} | self.entry
                    for name in self.models
                ]
                return json_response(200, {"object": "list", "data": entries})
            case "POST", self.chat_path:
                return await self._chat(request)
        return self.error(404, f"Invalid URL ({request.method} {request.path})")

    def _not_the_key(self, request: Request) -> Response:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        message = f"Incorrect API key provided: {sent}" if sent else "You didn't provide an API key."
        return self.error(401, message, "invalid_api_key")

    async def _chat(self, request: Request) -> Response:
        body = request.body
        fault = self.next_fault(request)
        if fault == "401":
            return self._not_the_key(request)
        if fault == "404" or body.get("model") not in self.models:
            return self.error(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")
        if fault in UNREADY:
            return self.busy(*UNREADY[fault])
        await self.lose_if(fault)
        if refused := next((part for part in self.refuses if _has(body, part)), None):
            return self._refused(refused)
        if wrong := _wrong_request(body):
            return self.error(400, wrong)
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        wanted = request.tokens + (limit or 0)
        if fault == "400" or (wanted > self.context_length and not self.silently_cuts):
            message = (
                f"This model's maximum context length is {self.context_length} tokens. However, you "
                f"requested {wanted} tokens ({request.tokens} in the messages, {limit or 0} in the "
                "completion)."
            )
            return self.error(400, message, "context_length_exceeded")
        fits = request.tokens < self.context_length or not self.silently_cuts
        prompt = request.tokens if fits else left_of(self.context_length)
        if fault == "cut_prompt":
            prompt = request.tokens // 4
        wants_json = (body.get("response_format") or {}).get("type", "text") != "text"
        cut_at = -1 if limit is None else limit
        content, reason = self.words(request, fault, cut_at, wants_json, body.get("seed") or 0)
        if await self.turn() is None:
            return self.busy(*UNREADY["503"])
        if fault == "broken_body":
            return Response(200, b"<html>upstream</html>", "text/html")
        if fault == "error_body":
            return self.error(200, "The upstream server failed")
        return self._completion(request, fault, content, reason, prompt)

    def _refused(self, part: Part) -> Response:
        message, parameter, code = REFUSALS[part]
        if not self.strict:
            return self.error(400, message, code, parameter)
        where = ["body", "response_format"] if part.startswith("json") else ["body", part]
        fault = {"type": "extra_forbidden", "loc": where, "msg": "Extra inputs are not permitted", "input": 0}
        return json_response(422, {"detail": [fault]})

    def _completion(
        self, request: Request, fault: FaultKind | None, content: str, reason: str, prompt: int
    ) -> Response:
        body, used = request.body, tokens_in(content)
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        if fault in ("null", "refusal"):
            message["content"] = None
        if fault == "refusal":
            message["refusal"] = "I'm sorry, I cannot help with that request."
        if fault == "parts":
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
            halves = (content[: used // 2], content[used // 2 :])
            message["content"] = [thinking, *({"type": "text", "text": half} for half in halves)]
        if fault == "picture":
            message["content"] = [{"type": "image_url", "image_url": {"url": "data:,"}}]
        logprobs = {"content": token_logprobs(content, body.get("top_logprobs") or 0)}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": logprobs if body.get("logprobs") else None,
            "finish_reason": None if fault == "no_reason" else reason,
        }
        answer = {
            "id": f"chatcmpl-{len(self.requests)}",
            "object": "chat.completion",
            "created": CREATED,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": prompt, "completion_tokens": used, "total_tokens": prompt + used},
            "system_fingerprint": "fp_test",
        }
        if fault == "no_count":
            del answer["usage"]
        return json_response(200, answer)


def _has(body: Json, part: Part) -> bool:
    if part.startswith("json"):
        return (body.get("response_format") or {}).get("type") == part
    return part in body


def _wrong_request(body: Json) -> str | None:
    """What is refused with 400: no messages, a stream, which is not served here, a format that is none."""
    if not body.get("messages"):
        return "Missing required parameter: 'messages'."
    if body.get("stream"):
        return "This server does not stream."
    match body.get("response_format"):
        case None | {"type": "text" | "json_object"}:
            return None
        case {"type": "json_schema", "json_schema": {"name": str(), "schema": dict()}}:
            return None
    return f"Invalid value for 'response_format': {body['response_format']!r}."
