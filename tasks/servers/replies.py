"""What comes of one request to a server."""

from dataclasses import dataclass
from typing import Any


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
