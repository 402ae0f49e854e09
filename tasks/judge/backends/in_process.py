"""What judges of this process share: what asks at the same time is read as one batch."""

import asyncio
from abc import ABC, abstractmethod
from asyncio import Future
from types import TracebackType
from typing import ClassVar, Self

from tasks.config import AskConfig
from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.servers.replies import Reply

BATCH = 8
GATHER = 0.002  # seconds for the others of a batch to ask


class InProcess(ABC):
    """A model of this process as a `Backend`; what it is and how it reads is its subclass's."""

    KIND: ClassVar[str]
    """What comes before the colon of its name."""
    promised = refusals = None

    def __init__(self, config: AskConfig, model: str) -> None:
        self.model = model
        self.context: int | None = None  # a prompt that does not fit is refused before it is read
        self.first_in_flight = self.most_in_flight = config.concurrency or BATCH
        self._device = config.device
        self._waiting: list[tuple[Json, Future[Reply]]] = []
        self._reading: asyncio.Task[None] | None = None

    @property
    def scorer(self) -> str:
        return f"{self.KIND}:{self.model}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None and error is not None:
            self._reading.cancel()

    async def alive(self) -> bool:
        return True

    def request(self, messages: list[Message], seed: int) -> Json:
        """The seed draws nothing; it only tells one asking from another."""
        return {"model": self.model, "messages": messages, "seed": seed}

    async def send(self, request: Json) -> Reply:
        future: Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await future

    def spent(self, reply: Reply) -> tuple[float, float]:
        return reply.latency, reply.latency

    def fatal(self, reply: Reply) -> StageError:
        return StageError(f"{self.scorer} cannot judge: {reply.error}")

    def gone(self, reason: str | None) -> StageError:
        return StageError(f"{self.scorer} cannot judge: {reason}")

    async def _read_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER)
            batch, self._waiting = (
                self._waiting[: self.most_in_flight],
                self._waiting[self.most_in_flight :],
            )
            try:
                replies = await asyncio.to_thread(self._read, [request for request, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)

    @abstractmethod
    def _read(self, requests: list[Json]) -> list[Reply]:
        """A reply for each request; prompts longer than the model's context are refused and not cut."""
