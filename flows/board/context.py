"""What every tab of the board is given: the workplace that the commands would find here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flows.board.access import PASSWORD
from tasks.machine.home import home
from tasks.record.tracking import Tracking, open_tracking

IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # seconds
"""How MLflow's client asks for a page: it gives up as a person does. A command lets it ask for a minute."""


@dataclass(frozen=True)
class Board:
    """A workplace; the board keeps nothing of its own."""

    home: Path
    tracking: Tracking
    environment: Mapping[str, str]
    """What a command that is started from the board is told, as this one was; but not who may open it."""
    profiles: tuple[Path, ...] = ()
    """YAML files that are offered beside the profiles of the home."""

    @classmethod
    def here(cls, profiles: tuple[Path, ...] = ()) -> Self:
        """The workplace of this process, which from now on waits for MLflow no longer than a person does.

        Raises UsageError as `open_tracking` does.
        """
        told = {  # before MLflow writes its address into the environment
            name: value
            for name, value in os.environ.items()
            if name != PASSWORD and not name.startswith("GRADIO_")
        }
        os.environ |= IMPATIENT
        return cls(home(), open_tracking(), told | {"TOUCHSTONE_HOME": str(home())}, profiles)
