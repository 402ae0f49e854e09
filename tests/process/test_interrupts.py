"""The first Ctrl-C stops, the second ends at once, whatever the main thread is doing."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time

import psutil
import pytest

from flows.process.interrupts import GRACE, LAST_ACTS, Interrupts
from tests.commands import COMMAND, heed_interruptions, kill_with_children

# What a command is to signals, in a process that imports nothing else: {work} is its main thread's.
PROGRAM = """
import os, subprocess, sys, threading, time
from flows.process.interrupts import STATUS, interrupts
import psutil
def tell(line):
    os.write(1, f"{{line}}\\n".encode())
told = threading.Event()
interrupts.announce = lambda _: (tell("stopping"), told.set())
interrupts.listen()
interrupts.last_acts.append(lambda: tell("last act"))
interrupts.last_acts.append(lambda: 1 / 0)
child = subprocess.Popen(["sleep", "60"])
{settings}
interrupts.at_once = False
try:
    tell(child.pid)
    {work}
except KeyboardInterrupt:
    tell("interrupted once")
    {cleaning}
    sys.exit(STATUS)
"""
DEEP = "__import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # C code, which hears of no signal
IN_A_DESTRUCTOR = """
    class Waiting:
        def __del__(self):
            time.sleep(60)
    waiting = Waiting()
    del waiting
    time.sleep(60)
"""


class Heard(Interrupts):
    """Notes what it would do."""

    def __init__(self, at_once=False):
        super().__init__()
        self.at_once = at_once
        self.told = threading.Event()
        self.announce = self.note
        self.ends = 0

    def note(self, writing):
        self.written = writing
        self.told.set()

    def end(self):
        self.ends += 1


@pytest.fixture
def handled():
    """Install a handler for SIGTERM; the one that was there comes back."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def program():
    """Start the program above; gives the process, and its child's id."""
    started = []

    def start(work, cleaning="pass", settings="pass"):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(work=work, cleaning=cleaning, settings=settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_interruptions,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        kill_with_children(process)
        process.communicate()


def is_alive(process_id):
    """Not gone, nor dead and waiting for a parent to ask how it ended."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_first_is_announced_and_the_second_ends():
    heard = Heard()
    heard.hear(signal.SIGINT)
    assert heard.told.wait(10)
    assert (heard.asked, heard.ends) == (True, 0)
    heard.hear(signal.SIGTERM)
    assert heard.ends == 1


@pytest.mark.parametrize("writing", [True, False])
def test_checkpoint_is_announced_as_it_was_when_the_signal_came(writing):
    """Regression: the thread that announces looked by itself, when it could be written already."""
    heard, answers = Heard(), [writing]
    heard.is_writing = lambda: answers.pop() if answers else not writing
    heard.hear(signal.SIGINT)
    assert heard.told.wait(10)
    assert heard.written is writing


def test_before_and_after_the_work_the_first_ends():
    heard = Heard(at_once=True)
    heard.hear(signal.SIGHUP)
    assert heard.ends == 1
    assert heard.handle(signal.SIGHUP, None) is None, "no exception in the middle of an import"


def test_other_signals_are_no_interruption():
    heard = Heard()
    heard.hear(signal.SIGCHLD)
    heard.hear(signal.SIGCHLD)
    assert (heard.asked, heard.ends) == (False, 0)


def test_what_prefect_sends_again_is_not_a_second_one(handled):
    """It takes SIGTERM while a flow runs, and sends it again once it has put our handler back."""
    heard = Heard()
    handled(signal.default_int_handler)  # Prefect's
    heard.hear(signal.SIGTERM)
    handled(heard.handle)
    heard.hear(signal.SIGTERM)
    assert heard.ends == 0
    heard.hear(signal.SIGTERM)
    assert heard.ends == 1


def test_a_second_one_while_prefect_takes_them_ends(handled):
    heard = Heard()
    handled(signal.default_int_handler)
    heard.hear(signal.SIGTERM)
    heard.hear(signal.SIGTERM)
    assert heard.ends == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_lets_the_command_clean_up(program, number):
    process, _ = program("time.sleep(60)", "child.kill(); told.wait()")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert sorted(out.split(b"\n")) == [b"", b"interrupted once", b"stopping"]
    assert err == b""


@pytest.mark.parametrize(
    "work",
    [DEEP, "subprocess.Popen(['sleep', '60']).wait()", "threading.Event().wait()"],
    ids=["in C code", "waiting for a process", "waiting for a thread"],
)
def test_two_end_it_wherever_it_is_with_what_it_started(program, work):
    process, child = program(work, work)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() in (b"stopping\n", b"interrupted once\n")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"last act" in out, "though another of them failed"
    assert err == b"interrupted\n"
    assert not is_alive(child)


def test_one_deep_inside_a_library_ends_it_when_its_time_is_over(program):
    process, child = program(DEEP, DEEP, "interrupts.grace = 1")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert 1 <= time.monotonic() - started < 4
    assert process.returncode == 130
    assert b"last act" in out
    assert err == b"interrupted\n"
    assert not is_alive(child)


def test_a_checkpoint_that_is_being_written_is_waited_for(program):
    """Until it is written; what comes after it has its time, which is over."""
    written = "until = time.monotonic() + 2; interrupts.is_writing = lambda: time.monotonic() < until"
    process, _ = program(DEEP, DEEP, f"interrupts.grace = 0.5; {written}")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert 1.5 <= time.monotonic() - started < 6


def test_by_default_it_is_gone_within_ten_seconds():
    assert GRACE + LAST_ACTS < 10


def test_one_that_python_drops_is_raised_again(program):
    """It would print "Exception ignored in", and go on as if nothing had been asked."""
    process, _ = program(IN_A_DESTRUCTOR.strip(), "child.kill(); told.wait()")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"interrupted once" in out
    assert err == b""


def test_a_terminal_that_is_closed_lets_the_command_clean_up():
    """What it says there would fail, and end it half-way."""
    ours, terminal = os.openpty()
    reading, writing = os.pipe()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    cleaning = f"print('stopped', file=sys.stderr, flush=True); child.kill(); os.write({writing}, b'clean')"
    code = PROGRAM.format(work="time.sleep(60)", cleaning=cleaning, settings="pass")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=terminal,
        stderr=terminal,
        pass_fds=[writing],
        preexec_fn=own_terminal,
    )
    os.close(terminal)
    os.close(writing)
    assert os.read(ours, 100).strip().isdigit(), "it has begun"
    os.close(ours)
    assert process.wait(30) == 130
    assert os.read(reading, 100) == b"clean"


def test_the_cursor_is_shown_again():
    terminal, other = os.openpty()
    code = "from flows.process.interrupts import interrupts; interrupts.end()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=other)
    assert process.wait(30) == 130
    assert select.select([terminal], [], [], 10)[0]
    assert os.read(terminal, 1000) == b"\r\x1b[2K\x1b[?25hinterrupted\r\n"


def test_one_during_the_imports_ends_the_command():
    process = subprocess.Popen(
        [COMMAND, "profiles"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interruptions
    )
    while not catches(process.pid, signal.SIGTERM):  # Python itself does not: from its first line on, we do
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")


def catches(process_id, number):
    with open(f"/proc/{process_id}/status", encoding="ascii") as file:  # noqa: PTH123
        (caught,) = (line.split()[1] for line in file if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << (number - 1))
