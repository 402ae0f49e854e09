"""How many requests a judge is sent at once: its slots and one more, so that no slot waits for the next.

No server tells its slots, but Ollama's answers tell how long they waited for one. Of C requests that are
always in flight, each takes C / slots times as long as its own work (Little, A Proof for the Queuing Formula
L = λW, 1961), so the slots are C times the share of its time that an answer did not wait. Where none waited
there may be more slots, and twice as much is sent.
"""

import math

FREE = 0.9  # share of its time from which on an answer did not wait; the rest is templates and the network


class InFlight:
    """The limit, and what has been seen since it was set."""

    def __init__(self, first: int, most: int) -> None:
        self.limit = first
        self.most = most
        self._worked = 0.0
        self._took = 0.0
        self._seen = 0

    def answered(self, sent_with: int, took: float, worked: float) -> None:
        """An answer took so many seconds, of which the judge worked on it; it was sent at that limit.

        Only answers that were sent at today's limit count, and as many as are in flight make a verdict.
        """
        if sent_with != self.limit or took <= 0:
            return
        self._worked, self._took, self._seen = self._worked + worked, self._took + took, self._seen + 1
        if self._seen < self.limit:
            return
        share = self._worked / self._took
        slots = math.ceil(share * self.limit - 0.05) if share < FREE else self.limit
        self._set(min(2 * self.limit, self.most) if share >= FREE else min(slots + 1, self.limit))

    def overloaded(self) -> None:
        """The judge turned a request away, or did not answer in time."""
        self._set(max(1, self.limit // 2))

    def _set(self, limit: int) -> None:
        self.limit = limit
        self._worked, self._took, self._seen = 0.0, 0.0, 0
