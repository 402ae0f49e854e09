"""The command as a user starts it. What a failed test leaves running would slow every test after it."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil

COMMAND = str(Path(sys.executable).with_name("touchstone"))

_started: list[subprocess.Popen[str]] = []


def start(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start `touchstone` in a folder; `end_what_is_left` ends it if the test does not."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interruptions,
    )
    _started.append(process)
    return process


def heed_interruptions() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_what_is_left() -> None:
    """Kill the commands that are still running."""
    while _started:
        kill_with_children(_started.pop())


def kill_with_children(process: subprocess.Popen) -> None:
    """Kill a process, if it is still running, and everything below it."""
    if process.poll() is not None:
        return
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.communicate()
