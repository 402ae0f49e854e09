"""Ctrl-C, SIGTERM, SIGHUP: the first stops a command where it can be continued, the second ends it at once.

A main thread that is deep inside a library hears of the first when it is back, which may be in an hour: when
the command has not ended in its time, it is ended as by a second one.

Python tells of a signal in two ways. A thread of its own reads the number from a pipe: it hears of it at
once, though the main thread be deep inside a library. The main thread raises KeyboardInterrupt for the first
one, as in any program; a training runs beside it and is asked to stop (tasks/machine/stopping.py).

Nothing is imported here that takes time: this is in place before the rest is imported.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STATUS = 130  # what a shell reports for a command ended by Ctrl-C
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 7.0  # seconds that a command has to stop once it was asked
WRITING = 60.0  # the same while a checkpoint is being written
LAST_ACTS = 2.0  # seconds that may be spent on leaving things in order when the end is to be at once
ROUNDS = 20
LOOK = 0.1  # seconds between two looks at whether its time is over
AGAIN = 0.02  # seconds until an exception that Python dropped is raised again
SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"  # in the place of a bar that is being drawn


class Interrupts:
    """What is known of the signals that ask this process to stop."""

    def __init__(self) -> None:
        self.asked = False
        """One has come."""
        self.at_once = True
        """Even the first ends the process: before there is anything to stop, and after it."""
        self.announce: Callable[[bool], None] = lambda _: None
        """Tells the person at the terminal that the first was heard, and whether a checkpoint is written."""
        self.grace = GRACE
        """Seconds that the command has to stop; one that waits for other processes sets more."""
        self.is_writing: Callable[[], bool] = lambda: False
        """Whether it is writing a checkpoint just now."""
        self._raised: int | None = None
        self._echo: int | None = None
        self._repeated = 0
        self._elsewhere: int | None = None
        """A signal that means something else just now."""
        self.last_acts: list[Callable[[], None]] = []
        """What is done before an end at once, the last first, in a thread of its own."""

    def listen(self) -> None:
        """From now on; in the main thread. Signals that are ignored stay so (`nohup`, `command &`)."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        for number in STOPPING:
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.handle)
        sys.unraisablehook = self._raise_again
        threading.Thread(target=self._hear_all, args=(reading,), name="signals", daemon=True).start()

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """In the main thread: raise for the first; the other thread sees to all that follow."""
        if number == signal.SIGHUP:
            _turn_from_a_lost_terminal()
        if not self.at_once and self._raised is None:
            self._raised = number
            raise KeyboardInterrupt

    def _hear_all(self, reading: int) -> None:
        while number := os.read(reading, 1):
            self.hear(number[0])

    def hear(self, number: int) -> None:
        """In a thread of its own: announce the first, and end the process at the second.

        While a flow runs, Prefect's handler stands in for ours of SIGTERM, and sends the signal again when it
        has put ours back.
        """
        ours = signal.getsignal(number) == self.handle
        if number not in STOPPING or number == self._elsewhere:
            return
        if number == signal.SIGHUP:
            _turn_from_a_lost_terminal()
        if self._repeated:
            self._repeated -= 1
        elif number == self._echo and ours:
            self._echo = None
        elif self.at_once:
            self.end()
        elif not self.asked:
            self.asked = True
            self._echo = None if ours else number
            writing = self.is_writing()  # now: it may be done when the terminal is free
            threading.Thread(target=self.announce, args=(writing,), daemon=True).start()
            threading.Thread(target=self._end_in_time, daemon=True).start()
        else:
            self.end()

    def _end_in_time(self) -> None:
        asked = time.monotonic()
        while time.monotonic() - asked < (max(self.grace, WRITING) if self.is_writing() else self.grace):
            time.sleep(LOOK)
        self.end()

    def end(self) -> None:
        """End this process and all that it has started, with what must be left in order."""
        acts = threading.Thread(target=self._act, daemon=True)
        acts.start()
        acts.join(LAST_ACTS)
        with suppress(OSError):  # the terminal is gone
            terminal, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):  # the main thread may be about to tell how it went
                os.dup2(silence, descriptor)
            os.write(terminal, f"{SHOW_CURSOR if os.isatty(terminal) else ''}interrupted\n".encode())
        _end_children()  # last: a main thread that waits for one of them goes on, and ends the process
        os._exit(STATUS)

    @property
    def status(self) -> int:
        """What a shell reports for a command that the first signal ended: 130 of Ctrl-C, 143 of SIGTERM."""
        return STATUS if self._raised is None else 128 + self._raised

    @contextmanager
    def ctrl_c_raises(self) -> Iterator[None]:
        """Each Ctrl-C raises KeyboardInterrupt while the body runs, and asks the command for nothing more."""
        self._elsewhere = signal.SIGINT
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self._elsewhere = None

    @contextmanager
    def last_act(self, act: Callable[[], None]) -> Iterator[None]:
        """One of them while the body runs."""
        self.last_acts.append(act)
        try:
            yield
        finally:
            self.last_acts.remove(act)

    def _act(self) -> None:
        for act in reversed(self.last_acts):
            with suppress(Exception):  # the next reaping does what was not done
                act()

    def _raise_again(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised inside a destructor or a callback, and would print it."""
        if self._raised is not None and isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Timer(AGAIN, self._repeat).start()  # not in here, where it would be dropped again
        else:
            sys.__unraisablehook__(unraisable)

    def _repeat(self) -> None:
        number, self._raised = self._raised, None
        self._repeated += 1
        signal.pthread_kill(threading.main_thread().ident, number)


def _turn_from_a_lost_terminal() -> None:
    """What is still to be told fails else, in the middle of what is to be left in order."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _end_children() -> None:
    """Kill what this process has started; it has started nothing before psutil was imported."""
    psutil = sys.modules.get("psutil")
    if psutil is None or not hasattr(psutil, "Process"):
        return
    dead = psutil.STATUS_ZOMBIE  # only its parent does not know it yet
    for _ in range(ROUNDS):  # the main thread may be starting another one meanwhile
        left = 0
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.status() != dead:
                    child.kill()
                    left += 1
        if not left:
            break
        time.sleep(LOOK / ROUNDS)


interrupts = Interrupts()
