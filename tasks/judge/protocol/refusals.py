"""What a server does not give: parts of a request that it refuses, and the model's digest.

What is refused is learnt from the server's own words, and something else is sent instead. Servers of OpenAI's
protocol differ in what they take: newer models want `max_completion_tokens` and no temperature, others know
no JSON schema. A part that is refused is left out from then on, and that is told.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.judge.protocol.replies import BY_NAME
from tasks.machine.json_files import Json
from tasks.servers.replies import Reply

PARTS = ("max_tokens", "temperature", "seed", "response_format")
TEMPERATURE = "temperature"
FORMATS = ("json_schema", "json_object")  # of response_format, the strictest first
WORDS = {
    "max_tokens": "its server refuses max_tokens: max_completion_tokens is sent instead",
    "temperature": "its server refuses temperature 0: it answers at a temperature of its own, and the same "
    "question may get another score",
    "seed": "its server refuses a seed: asking again may bring the same answer",
    "json_schema": "its server refuses a JSON schema: no answer is held to one",
    "json_object": "its server refuses to hold answers to JSON: it is only asked for",
}

BY_NAME_LINE = "its server tells no digest: another model under this name shows only when asked anew"

_UNSUPPORTED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unavailable|invalid parameter|unexpected|"
    r"not (?:permitted|allowed|accepted|recogni[sz]ed)|extra (?:inputs|fields)",
    re.IGNORECASE,
)
_A_MATTER_OF_SIZE = re.compile(
    r"context|too (?:large|long|many|small)|at (?:most|least)|exceed", re.IGNORECASE
)


@dataclass
class Refusals:
    """What one model of a server refuses: `words` are the server's, by part."""

    words: dict[str, str] = field(default_factory=dict)

    def without(self, request: Json) -> Json:
        """The request as the server takes it, as far as that is known."""
        request = dict(request)
        if "max_tokens" in self.words:
            request["max_completion_tokens"] = request.pop("max_tokens")
        for part in (TEMPERATURE, "seed"):
            if part in self.words:
                del request[part]
        if "response_format" in request and FORMATS[0] in self.words:
            request["response_format"] = {"type": FORMATS[1]}
        if "response_format" in request and FORMATS[1] in self.words:
            del request["response_format"]
        return request

    def learn(self, request: Json, reply: Reply) -> str | None:
        """The part that the server refuses in its reply to a request; None where it is something else.

        An answer that names a part because of its size, such as a prompt too long for `max_tokens` more,
        refuses the prompt.
        """
        words = reply.error or ""
        if not reply.refused or not _UNSUPPORTED.search(words) or _A_MATTER_OF_SIZE.search(words):
            return None
        for part in PARTS:
            if part in request and _names(reply, part):
                refused = request[part]["type"] if part == "response_format" else part
                self.words.setdefault(refused, words)
                return refused
        return None


def identity_lines(scorer: str) -> list[str]:
    """What is not known of who a judge is, a line each."""
    return [BY_NAME_LINE] if scorer.startswith(BY_NAME) else []


def refusal_lines(parts: Iterable[str]) -> list[str]:
    """What a server was found to refuse and what is done about it, a line each."""
    return [WORDS[part] for part in parts]


def _names(reply: Reply, part: str) -> bool:
    """Whether a refusal is of that part: as its parameter, else by a word in it."""
    if reply.parameter:
        return reply.parameter.partition(".")[0] == part
    also = "|json_schema|json_object" if part == "response_format" else ""
    return re.search(rf"(?<!\w)(?:{part}{also})(?!\w)", reply.error or "") is not None
