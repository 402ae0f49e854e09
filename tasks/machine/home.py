"""Where things are, and addresses as they may be shown; read before MLflow is loaded."""

import os
import re
from pathlib import Path

DEPLOYMENTS = "deployments/prefect.yaml"
ADDRESSES = "servers.json"  # in mlruns/work/, while `touchstone up` runs


def home() -> Path:
    """The folder that holds `mlruns/` and `deployments/`: TOUCHSTONE_HOME, else this checkout."""
    return Path(os.environ.get("TOUCHSTONE_HOME") or Path(__file__).parents[2]).resolve()


def without_password(uri: str) -> str:
    """An address as it may be shown: `postgresql://user:secret@host/db` keeps only the user."""
    return re.sub(r"(//[^/\s:@]*):\S*@", r"\1:***@", uri)
