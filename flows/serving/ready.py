"""Models that stay ready to answer: a few at once, of those that were asked last."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Condition

from tasks.serve.chat_models import ChatModel

Open = Callable[[str, ExitStack], ChatModel]
"""The model of a name, ready until the stack is closed."""


@dataclass
class _Ready:
    model: ChatModel
    stack: ExitStack


class ReadyModels:
    """Models by name, each of which answers one caller at a time."""

    def __init__(self, open_: Open, most: int) -> None:
        """At most so many are in memory at once."""
        self._open, self._most = open_, most
        self._ready: dict[str, _Ready] = {}  # that was used last, last
        self._busy: set[str] = set()
        self._changed = Condition()

    @contextmanager
    def using(self, *names: str) -> Iterator[list[ChatModel]]:
        """The models of these names, for the body alone; others who want one wait.

        All are had at once, so that two callers who want the same ones never wait for each other. Raises
        what opening raises.
        """
        wanted = set(names)
        with self._changed:
            self._changed.wait_for(
                lambda: not self._busy & wanted and len(self._busy | wanted) <= max(self._most, len(wanted))
            )
            self._busy |= wanted
            leaving = self._without_room()
        try:
            for one in leaving:
                one.stack.close()
            for name in wanted - self._ready.keys():
                self._ready[name] = self._opened(name)
            yield [self._ready[name].model for name in names]
        finally:
            with self._changed:
                self._busy -= wanted
                for name in wanted & self._ready.keys():
                    self._ready[name] = self._ready.pop(name)
                self._changed.notify_all()

    def close(self) -> None:
        """Leave every model."""
        with self._changed:
            while self._ready:
                self._ready.popitem()[1].stack.close()

    def _without_room(self) -> list[_Ready]:
        """Those that were used longest ago, and are in the way of those that are wanted now."""
        idle = [name for name in self._ready if name not in self._busy]
        over = len(self._busy | self._ready.keys()) - self._most
        return [self._ready.pop(name) for name in idle[: max(over, 0)]]

    def _opened(self, name: str) -> _Ready:
        with ExitStack() as stack:
            model = self._open(name, stack)
            return _Ready(model, stack.pop_all())
