"""Who may open the board, and what Gradio is told before it is imported."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from tasks.errors import UsageError
from tasks.machine.addresses import is_loopback

PASSWORD = "TOUCHSTONE_BOARD_PASSWORD"
SHORTEST = 12  # characters of a password

Login = Callable[[str, str], bool]


def login_of(user: str | None, host: str) -> Login | None:
    """What says whether a user and a password may in; None where the page asks for neither.

    The password is in the environment, as TOUCHSTONE_BOARD_PASSWORD. Raises UsageError without a user where
    other machines can reach the page, and for a password that is missing or short.
    """
    if user is None:
        if is_loopback(host):
            return None
        raise UsageError(
            f"--host {host} lets other machines in, who could start runs here; name who may: --auth USER, "
            f"with a password in {PASSWORD}"
        )
    password = os.environ.get(PASSWORD, "")
    if len(password) < SHORTEST:
        found = f"has {len(password)} characters" if password else "is not set"
        raise UsageError(
            f"--auth {user}: {PASSWORD} {found}; expected a password of at least {SHORTEST} characters"
        )

    def may_in(name: str, given: str) -> bool:
        is_user = secrets.compare_digest(name.encode(), user.encode())
        return secrets.compare_digest(given.encode(), password.encode()) and is_user

    return may_in


def prepare_gradio(root: Path) -> None:
    """Tell Gradio, which reads it when it is imported, to ask no server, and to keep uploads in `mlruns/`."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(root / "work" / "board"),
    }
