"""How many requests a judge is sent at once: its slots and few more, so that no slot waits for the next.

No server tells its slots, but Ollama's answers tell how long they waited for one. Of C requests that are
always in flight, each takes C / slots times as long as its own work (Little, A Proof for the Queuing Formula
L = λW, 1961), so the slots are C times the share of its time that an answer did not wait. Where none waited
there may be more slots, and four times as much is sent; once any had to wait, one more: growing on would
fill the queue of every server of ten slots, where one of eleven that waits is hardly seen.
"""

import math

GROWTH = 4  # times as much is sent as long as nothing waits
SPARE = 8  # slots that have one more request waiting: they may all become free at once
FREE = 0.9  # share of its time from which on an answer did not wait
OVERHEAD = 0.01  # seconds of an answer that are templates and the network, and no waiting


class AdaptiveConcurrency:
    """The limit, and what has been seen since it was set."""

    def __init__(self, first: int, most: int) -> None:
        self.limit = first
        self.most = most
        self._worked = 0.0
        self._took = 0.0
        self._seen = 0
        self._met = False  # the end of the server's slots

    def answered(self, sent_with: int, took: float, worked: float) -> None:
        """An answer took so many seconds, of which the judge worked on it; it was sent at that limit.

        Only answers that were sent at today's limit count, and as many as are in flight make a verdict.
        """
        if sent_with != self.limit or took <= 0:
            return
        self._worked += min(worked + OVERHEAD, took)
        self._took += took
        self._seen += 1
        if self._seen < self.limit:
            return
        share = self._worked / self._took
        if share >= FREE:
            self._set(min(self.limit + 1 if self._met else GROWTH * self.limit, self.most))
        else:
            self._met = True
            slots = math.ceil(share * self.limit - 0.05)
            self._set(min(slots + 1 + slots // SPARE, self.limit))

    def overloaded(self) -> None:
        """The judge turned a request away, or did not answer in time."""
        self._met = True
        self._set(max(1, self.limit // 2))

    def _set(self, limit: int) -> None:
        self.limit = limit
        self._worked, self._took, self._seen = 0.0, 0.0, 0
