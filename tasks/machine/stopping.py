"""Stopping a training where it can be continued, and how often a checkpoint is written in case it cannot.

Python raises the exception of a signal wherever its main thread happens to be, and one that is raised inside
a backward pass or half-way through a file is lost, or aborts the process. So a training runs in a thread of
its own, which no signal reaches: the main thread takes the interruption, asks it to stop, and waits.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context

from tasks.errors import StoppedError

log = logging.getLogger(__name__)

SHARE = 0.05  # of a training's steps: what a crash may cost when that takes longer than `checkpoint_every`

_stoppable = threading.Event()


def is_stoppable() -> bool:
    """Whether an interruption now ends with a checkpoint being written."""
    return _stoppable.is_set()


def begin() -> None:
    """From now on it does."""
    _stoppable.set()


def run_stoppable(train: Callable[[], None], stop: threading.Event, *, begun: bool = True) -> None:
    """Run `train`; an interruption sets `stop`, and is raised once `train` has returned.

    `train` looks at `stop` where it can be continued from, writes its checkpoint, and raises StoppedError.
    One that has not `begun` calls `begin` when it has something to write.
    """
    work = _Work(train)
    # A daemon: whoever interrupts a second time does not want to wait for it.
    thread = threading.Thread(target=copy_context().run, args=(work.run,), name="training", daemon=True)
    try:
        if begun:
            begin()
        thread.start()
        # Not join(): when that is interrupted, Python takes the thread for ended. Now and then it looks for a
        # signal that the system gave to another thread.
        while not work.done.wait(0.5):
            pass
    except BaseException:
        stop.set()
        while not work.done.wait(1.0) and thread.is_alive():
            pass  # it never began when it is not alive
        if work.error is not None and not isinstance(work.error, StoppedError):
            log.warning("interrupted, and the checkpoint could not be written: %s", work.error)
        raise
    finally:
        _stoppable.clear()
    if work.error is not None:
        raise work.error


class _Work:
    """What a thread does, and how that went."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()


class Pace:
    """When a checkpoint is due: `every` seconds and a twentieth of the steps after the last one.

    A crash costs the longer of the two at most, and writing takes little of a long training.
    """

    def __init__(
        self, every: float, steps: int, step: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.every = every
        self.least = SHARE * steps
        self._clock = clock
        self.wrote(step)

    def wrote(self, step: int) -> None:
        """A checkpoint of this step is on the disk."""
        self.step = step
        self._when = self._clock()

    def is_due(self, step: int) -> bool:
        return step - self.step >= self.least and self._clock() - self._when >= self.every
