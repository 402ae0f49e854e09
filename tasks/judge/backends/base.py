"""What every judge's backend does: say who it is, be asked, say what was answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from tasks.errors import StageError
from tasks.judge.protocol.prompts import Message
from tasks.judge.protocol.refusals import BY_NAME, Refusals

Json = dict[str, Any]


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


class Backend(Protocol):
    """One judge."""

    most_in_flight: int
    """Requests that may be under way at once, or rows of a batch."""
    first_in_flight: int
    """How many are sent before anything is known of how fast they are answered."""
    context: int | None
    """Tokens of prompt and answer together, where the backend was told."""
    promised: int | None
    """Tokens of prompt and answer together that the server says it holds."""
    refusals: Refusals | None
    """What the server was found to refuse of a request; None where nothing ever is."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def identify(self) -> Identity:
        """Raises StageError when there is no such judge, saying how to get it."""

    async def alive(self) -> bool:
        """Whether the judge can be reached at all."""

    def request(self, messages: list[Message], seed: int) -> Json:
        """Exactly what is asked, as JSON values: with the judge's digest it is what answers are kept by."""

    async def send(self, request: Json) -> Reply:
        """Ask once. Never raises for what the network or the server does."""

    def answered(self, body: Any) -> Answered:
        """What a reply of status 200 says. Raises UnusableError for an answer that was aborted or cut."""

    def spent(self, reply: Reply) -> tuple[float, float]:
        """Seconds that an answer took by the judge's own clock, and those of them that it worked on it.

        The two are the same where the judge does not tell.
        """

    def fatal(self, reply: Reply) -> StageError:
        """Why asking on is of no use, for a reply that is neither an answer, passing nor a refusal."""

    def gone(self, reason: str | None) -> StageError:
        """The judge does not answer any more."""
