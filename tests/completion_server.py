"""A loopback server of OpenAI's completions, as vLLM and llama.cpp have them: prompts are tokens or text.

It responds with what `words` makes of a request; a text counts as many tokens as `count` says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.chat_server import Json, Request, Response, json_response
from tests.openai_server import OpenAIServer

Trouble = Literal["429", "500", "context"]


@dataclass
class CompletionServer(OpenAIServer):
    """With `takes_tokens` false it refuses lists of ids, `begins` is what it adds to a prompt by itself."""

    words: Callable[[Json], str] = lambda body: f" answer {len(body['prompt'])} "
    count: Callable[[str], int] = len
    takes_tokens: bool = True
    begins: int = 0
    reason: str = "stop"
    troubles: list[Trouble] = field(default_factory=list)
    """What the next requests meet."""
    bodies: list[Json] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        if request.path != "/v1/completions":
            return await super().answer(request)
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return self._not_the_key(request)
        body = request.body
        if self.troubles:
            trouble = self.troubles.pop(0)
            if trouble == "context":
                return self.error(400, "the request exceeds the available context size")
            return self.error(int(trouble), "busy")
        prompt = body["prompt"]
        if isinstance(prompt, list) and not self.takes_tokens:
            return self.error(400, "prompt must be a string")
        self.bodies.append(body)
        read = self.begins + (len(prompt) if isinstance(prompt, list) else self.count(prompt))
        choice = {"index": 0, "text": self.words(body), "finish_reason": self.reason}
        usage = {"prompt_tokens": read, "completion_tokens": 3, "total_tokens": read + 3}
        return json_response(200, {"object": "text_completion", "choices": [choice], "usage": usage})
