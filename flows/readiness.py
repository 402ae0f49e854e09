"""What every command looks at before Prefect has started."""

import atexit
import json
import os
from collections.abc import Iterable, Sequence
from functools import partial

import httpx

from flows.console import console
from flows.interrupts import interrupts
from flows.servers import Process, answers, free_port, logs_folder, prefect_server
from tasks.errors import UsageError
from tasks.home import ADDRESSES, home, without_password

IMPATIENT = 1.0  # seconds that the server of an interrupted command has to end


def verbosely(verbose: bool) -> None:
    """Let Prefect's log lines be seen."""
    if verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"


def begin_prefect() -> None:
    """See to it that there is a Prefect server: the one that is configured, that of `up`, or one of our own.

    Call it before Prefect is imported, which reads the address then. Our own server is being started when
    this returns: `prefect_is_ready` waits for it. Raises UsageError when the
    one that is configured does not answer.
    """
    if _own or _join_up():
        return
    if address := os.environ.get("PREFECT_API_URL"):
        _check_answers(address)
        return
    port = free_port()
    server = prefect_server("127.0.0.1", port, logs_folder() / f"prefect-{os.getpid()}.log", brief=True)
    server.start()
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    atexit.register(_end, server)
    interrupts.last_acts.append(partial(server.log.unlink, missing_ok=True))
    _own.append(server)


_own: list[Process] = []  # the server of this command, once it has one


def prefect_is_ready() -> None:
    """Wait for this command's own Prefect server. Raises StageError when it does not come up."""
    for server in _own:
        server.wait_until(lambda: answers(f"{os.environ['PREFECT_API_URL']}/health"))


def is_temporary() -> bool:
    """Whether this command's Prefect server is its own, and ends with it."""
    return bool(_own)


def _end(server: Process) -> None:
    server.stop(IMPATIENT if interrupts.asked else None)
    server.log.unlink(missing_ok=True)


def _join_up() -> bool:
    """Use the servers of a `touchstone up` of this folder, unless others are configured."""
    if os.environ.get("PREFECT_API_URL") or os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    try:
        found = json.loads((home() / "mlruns" / "work" / ADDRESSES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if not answers(f"{found['PREFECT_API_URL']}/health"):  # it was killed, or is going down
        return False
    os.environ |= found
    console.say(f"with the servers of touchstone up: {found['PREFECT_API_URL'].removesuffix('/api')}", "dim")
    return True


def require_prefect() -> None:
    """For commands that hand work to a server. Raises UsageError when there is none that answers."""
    if _join_up():
        return
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise UsageError("this needs a Prefect server: start one with touchstone up, or set PREFECT_API_URL")
    _check_answers(address)


def require_servers() -> None:
    """The same, and a server of MLflow, where work of other processes is read. Raises UsageError likewise."""
    require_prefect()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UsageError("this needs MLFLOW_TRACKING_URI too: the MLflow server that the workers use")


def _check_answers(address: str) -> None:
    try:
        httpx.get(f"{address.rstrip('/')}/health", timeout=10).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"no Prefect server answers at {without_password(address)} ({error}). "
            "Check PREFECT_API_URL, which ends in /api, or unset it to run without a server."
        ) from error


def stages_to_refresh(names: Iterable[str], stages: Sequence[str]) -> list[str]:
    """The named ones of the stages that a command runs. Raises UsageError for one that it does not."""
    for name in names:
        if name not in (*stages, "all"):
            raise UsageError(
                f"--refresh {name}: there is no such stage in this; there are {', '.join(stages)}, and all"
            )
    return list(stages) if "all" in names else list(names)
