"""Secrets: from the environment, or from Prefect's Secret blocks; never a parameter, never in a record."""

import os
from functools import cache

from prefect.blocks.system import Secret
from prefect.exceptions import ObjectNotFound

from tasks.machine.secrets import SECRETS


def block_name(variable: str) -> str:
    """The Secret block that holds an environment variable: touchstone-hf-token for HF_TOKEN."""
    return f"touchstone-{variable.lower().replace('_', '-')}"


@cache
def load_secrets() -> None:
    """Put secrets that only Prefect knows into this process's environment, where libraries look for them.

    Prefect is asked once a process: every pipeline and every stage of it needs them.
    """
    for variable in SECRETS:
        if os.environ.get(variable):
            continue
        try:
            os.environ[variable] = str(Secret.load(block_name(variable), _sync=True).get())
        except ValueError as error:  # Prefect's own error for a block that does not exist
            if not isinstance(error.__cause__, ObjectNotFound):
                raise
