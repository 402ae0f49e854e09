"""What comes of asking a judge: who it is, a reply, an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BY_NAME = "openai:"  # judges whose server tells no digest of the model


@dataclass(frozen=True)
class Identity:
    """Exactly who judges.

    `digest` changes with the model's weights where a backend can know them; `version` is the server's or the
    library's.
    """

    scorer: str
    digest: str
    version: str
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Parts of a request that the server was found to refuse, with its words: what was asked without them."""

    @property
    def by_name(self) -> bool:
        """Whether only its name is known: what answers under it may become another model unnoticed."""
        return self.scorer.startswith(BY_NAME)


@dataclass(frozen=True)
class Reply:
    """What came of one request; `status` None means that no answer arrived."""

    status: int | None
    body: Any
    error: str | None
    latency: float
    """Seconds, queueing included."""
    wait: float | None = None
    """Seconds that the server asks to be left alone (Retry-After)."""
    parameter: str | None = None
    """Which part of the request the server finds fault with, where it says so."""

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later: connection loss, 408, 429, 499 and every 5xx."""
        return self.status is None or self.status in (408, 429, 499) or self.status >= 500

    @property
    def refused(self) -> bool:
        """Whether the server will not read this prompt, however often it is asked."""
        return self.status in (400, 413, 422)


@dataclass(frozen=True)
class Answered:
    """A finished answer: the model's text, and the tokens read and written as far as the server tells."""

    text: str
    prompt_tokens: int | None
    tokens: int | None
    ended: bool = True
    """Whether the server says that the answer came to its end, and was not cut."""
