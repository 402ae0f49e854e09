"""What every judge's backend does: say who it is, be asked, say what was answered."""

from types import TracebackType
from typing import Any, Protocol, Self

from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.judge.protocol.refusals import Refusals
from tasks.judge.protocol.replies import Answered, Identity
from tasks.machine.json_files import Json
from tasks.servers.replies import Reply


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
