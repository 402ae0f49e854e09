"""A limit on the time of code that was not written here and may never end, such as a chat template."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK = 0.2  # seconds between two looks at what is running


class TooLongError(Exception):
    """The body took longer than it may."""


class _Watch:
    """A thread that looks at what is running, and raises TooLongError inside what is over its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def begin(self, thread: int, until: float) -> None:
        with self._lock:
            self._until[thread] = until
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._look, name="time limits", daemon=True)
                self._thread.start()

    def end(self, thread: int) -> None:
        with self._lock:
            self._until.pop(thread, None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            now = time.monotonic()
            with self._lock:
                for thread in [thread for thread, until in self._until.items() if now > until]:
                    del self._until[thread]
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread), ctypes.py_object(TooLongError)
                    )


_watch = _Watch()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TooLongError in this thread when the body, which is Python, takes longer; bodies do not nest.

    A single call into C is waited for: Python looks for the exception when it is back.
    """
    thread = threading.get_ident()
    _watch.begin(thread, time.monotonic() + seconds)
    try:
        yield
    finally:
        _watch.end(thread)
