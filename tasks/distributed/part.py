"""The part that a process has in a training: all of it, the checks before it, or a share of its steps.

One process alone waits for no other, so the checks may take as long as they like there: a process group ends
a wait after minutes, and every rank that is not the first would wait.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, Protocol

from tasks.machine.json_files import as_text
from tasks.machine.stopping import run_stoppable
from tasks.preflight import require
from tasks.preflight.report import Report
from tasks.record.manifest import write_atomically
from tasks.record.stage import StageRun

# What one process may keep the others of its group waiting for: a checkpoint of GPT-2's largest size, 25 GB
# with the best weights, is written and hashed at 50 MB/s in 17 minutes, and a group waits for ten by default.
# A process that dies does not make the others wait: torchrun ends them.
PATIENCE = timedelta(hours=2)

Mode = Literal["refuse", "warn"]


class ProcessRole(Protocol):
    """What a training does in the way of the process that it runs in."""

    is_first: bool
    """Whether this process writes the outputs, and tells how it goes."""

    def require(self, mode: Mode, check: Callable[[], Report]) -> None:
        """Make the checks before training, where they are this process's to make."""
        ...

    def fit(self, fit: Callable[[], None]) -> None:
        """Run the steps, in whichever thread interruptions leave alone."""
        ...


@dataclass(frozen=True)
class Alone:
    """The one process of a training."""

    run: StageRun
    is_first: bool = True

    def require(self, mode: Mode, check: Callable[[], Report]) -> None:
        require(self.run, mode, check)

    def fit(self, fit: Callable[[], None]) -> None:
        run_stoppable(fit, self.run.stop)


class ChecksDone(Exception):  # noqa: N818 - nothing is wrong
    """A process that was started for the checks has made them."""


@dataclass(frozen=True)
class Checking:
    """A process that makes the checks for those that will train, which are not there yet."""

    report: Path
    """Where the report is left."""
    is_first: bool = True

    def require(self, _mode: Mode, check: Callable[[], Report]) -> None:
        """Raises ChecksDone, whatever was found: the process that launched this one judges it."""
        write_atomically(self.report, as_text(check().as_json()).encode())
        raise ChecksDone

    def fit(self, _fit: Callable[[], None]) -> None:
        raise AssertionError("a training began without its checks")


@dataclass(frozen=True)
class Share:
    """One of several processes that train together, whose checks were made before there was a group."""

    is_first: bool
    begin: Callable[[], None]
    """Told when there is something to write, should it be stopped."""

    def require(self, _mode: Mode, _check: Callable[[], Report]) -> None:
        """They were."""

    def fit(self, fit: Callable[[], None]) -> None:
        self.begin()
        fit()
