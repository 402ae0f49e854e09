"""The command as a user starts it, or in this process where the process is not what is tested.

What a failed test leaves running would slow every test after it.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

CHECKOUT = Path(__file__).parent.parent
LOGIN = "touchstone", "the-servers-of-the-tests"
"""The user and the secret of every server that the tests start."""
COMMAND = str(Path(sys.executable).with_name("touchstone"))

_started: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def cached(self) -> dict[str, bool]:
        return {stage["name"]: stage["cached"] for stage in self.json["stages"]}


def start(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
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


def run_here(folder: Path, environment: Mapping[str, str], prefect: str, *arguments: str) -> Result:
    """The command in this process, which has imported what it needs and knows a Prefect server."""
    from flows.command.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        entered(folder, environment, prefect),
        mock.patch.object(sys, "argv", ["touchstone", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return Result(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command returned without a status")


@contextlib.contextmanager
def entered(folder: Path, environment: Mapping[str, str], prefect: str) -> Iterator[None]:
    """This process in a folder and environment, with a Prefect server; afterwards as before.

    Prefect reads its environment once, when it is imported. Threads that are told no settings use the global.
    """
    import prefect.context as context  # takes seconds
    from prefect.settings import PREFECT_API_URL, temporary_settings

    listened = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        contextlib.chdir(folder),
        temporary_settings({PREFECT_API_URL: prefect}),
        mock.patch.object(context, "GLOBAL_SETTINGS_CONTEXT", context.get_settings_context()),
    ):
        try:
            yield
        finally:
            for number, before in listened.items():
                signal.signal(number, before)
