"""Commands that go on when whoever started them is gone, with their output in a log."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LOG = "TOUCHSTONE_LOG"  # the variable that names the log to the command
LOG_TAG = "touchstone.log"  # of the MLflow runs that the command opens
COMMAND = str(Path(sys.executable).with_name("touchstone"))

_LAUNCH = """\
import subprocess, sys
with open(sys.argv[1], "ab") as log:
    started = subprocess.Popen(
        sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
print(started.pid)
"""


def start_detached(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> int:
    """Start `touchstone` with arguments, in a folder; gives the process's id.

    It is the child of a process that has ended: what ends this one, and all that it started, leaves it alone.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCH, str(log), COMMAND, *arguments],
        env={**environment, LOG: str(log)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(launched.stdout)


def log_tags() -> dict[str, str]:
    """The tag that names this process's log, where it was started with one: its file, without the folder."""
    return {LOG_TAG: Path(os.environ[LOG]).name} if os.environ.get(LOG) else {}
