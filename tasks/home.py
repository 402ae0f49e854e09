"""Where a checkout's folders are; on its own, so that a wrong option is told before MLflow is loaded."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds `mlruns/` and `deployments/`: TOUCHSTONE_HOME, else this checkout."""
    return Path(os.environ.get("TOUCHSTONE_HOME") or Path(__file__).parent.parent).resolve()
