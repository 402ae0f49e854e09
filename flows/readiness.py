"""What every command looks at before Prefect has started."""

import os
from collections.abc import Iterable, Sequence

import httpx

from tasks.errors import UsageError
from tasks.home import without_password


def verbosely(verbose: bool) -> None:
    """Let Prefect's log lines be seen."""
    if verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"


def check_prefect_answers() -> None:
    """Raises UsageError when a Prefect server is configured that does not answer."""
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return  # Prefect brings a server of its own
    try:
        httpx.get(f"{address.rstrip('/')}/health", timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"no Prefect server answers at {without_password(address)} ({error}). "
            "Check PREFECT_API_URL, or unset it to run without a server."
        ) from error


def stages_to_refresh(names: Iterable[str], stages: Sequence[str]) -> list[str]:
    """The named ones of the stages that a command runs. Raises UsageError for one that it does not."""
    for name in names:
        if name not in (*stages, "all"):
            raise UsageError(
                f"--refresh {name}: there is no such stage in this; there are {', '.join(stages)}, and all"
            )
    return list(stages) if "all" in names else list(names)
