"""What every command looks at before Prefect has started."""

import atexit
import difflib
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import httpx

from flows.process.console import console
from flows.process.interrupts import interrupts
from flows.server.access import (
    SECRET,
    UP_LOCK,
    credentials,
    kept_addresses,
    kept_secret,
    new_secret,
    secret_of_home,
    told_secret,
)
from flows.server.servers import Place, Process, answers, free_port, logs_folder, prefect_server
from tasks.errors import UsageError
from tasks.machine.addresses import WEB, parse_address, reached
from tasks.machine.home import home, without_password
from tasks.machine.locks import Timeout, holding
from tasks.machine.proxies import go_direct, takes_proxy, through

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
    if os.environ.get("PREFECT_API_URL"):
        _check_answers(_told_address())
        return
    place, secret = Place(prefect_port=free_port()), new_secret()
    server = prefect_server(place, logs_folder() / f"prefect-{os.getpid()}.log", secret, brief=True)
    server.start()
    os.environ |= {
        "PREFECT_API_URL": f"{place.prefect}/api",
        "PREFECT_API_AUTH_STRING": credentials(secret)["PREFECT_API_AUTH_STRING"],
    }
    atexit.register(_end, server)
    interrupts.last_acts.append(partial(server.log.unlink, missing_ok=True))
    _own.append(server)


_own: list[Process] = []  # the server of this command, once it has one


def begin_servers(pools: bool) -> None:
    """Those of the work pools, which must answer; without pools, of this command alone."""
    if pools:
        require_servers()
    else:
        begin_prefect()


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
    found = kept_addresses()
    if not found or not answers(f"{found['PREFECT_API_URL']}/health"):  # it was killed, or is going down
        return False
    os.environ |= found
    if secret := told_secret() or kept_secret():
        os.environ |= credentials(secret)  # in the place of another server's, which the user has set
    _check_answers(found["PREFECT_API_URL"])
    console.say(f"with the servers of touchstone up: {found['PREFECT_API_URL'].removesuffix('/api')}", "dim")
    return True


@contextmanager
def begin_up(place: Place) -> Iterator[str]:
    """Be the one `touchstone up` of this home while the body runs; gives the secret of its servers.

    Call it before Prefect is imported, which reads the address and the secret then. Raises UsageError when
    another one runs here.
    """
    root = home() / "mlruns"
    (root / "work").mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(holding(root / "work" / UP_LOCK, timeout=1))  # looks of others are short
        except Timeout:
            raise UsageError(
                f"touchstone up is running for {root} already; stop it with Ctrl-C there"
            ) from None
        secret = secret_of_home()
        go_direct(reached(place.host))
        os.environ |= {"PREFECT_API_URL": f"{place.prefect}/api"} | credentials(secret)
        yield secret


def require_prefect() -> None:
    """For commands that hand work to a server. Raises UsageError when there is none that answers."""
    if _join_up():
        return
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError("this needs a Prefect server: start one with touchstone up, or set PREFECT_API_URL")
    _check_answers(_told_address())


def require_servers() -> None:
    """The same, and a server of MLflow, where work of other processes is read. Raises UsageError likewise."""
    require_prefect()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UsageError("this needs MLFLOW_TRACKING_URI too: the MLflow server that the workers use")


def _told_address() -> str:
    """The address in PREFECT_API_URL, spelt as Prefect reads it. Raises UsageError for what is none."""
    text = os.environ["PREFECT_API_URL"]
    try:
        address = parse_address(text, WEB).url
    except ValueError as error:
        raise UsageError(
            f"PREFECT_API_URL {without_password(text)!r} is not the address of a Prefect server ({error}); "
            "expected something like http://gpu:4200/api"
        ) from error
    os.environ["PREFECT_API_URL"] = address
    return address


def _check_answers(address: str) -> None:
    """Raises UsageError when no Prefect server answers there, or it does not let us in."""
    login = os.environ.get("PREFECT_API_AUTH_STRING", "").encode()
    headers = {"Authorization": f"Basic {b64encode(login).decode()}"} if login else {}
    try:
        with httpx.Client(base_url=address, timeout=10, trust_env=takes_proxy(address)) as client:
            well = client.get("/health")
            if well.status_code == httpx.codes.FORBIDDEN:
                raise UsageError(
                    f"the Prefect server {without_password(address)} refuses: {well.text.strip()}. Its "
                    "touchstone up takes another name with --public NAME"
                )
            well.raise_for_status()
            asked = client.get("/admin/version", headers=headers)
        if asked.status_code == httpx.codes.UNAUTHORIZED and not os.environ.get("PREFECT_API_KEY"):
            raise UsageError(
                f"the Prefect server {without_password(address)} "
                f"{'refuses the secret told here' if login else 'asks for a secret'}. Set {SECRET} to "
                "what its touchstone up keeps in mlruns/work/secret, or PREFECT_API_AUTH_STRING for any other"
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"no Prefect server answers at {without_password(address)} ({error}{through(address)}). "
            "Check PREFECT_API_URL, which ends in /api, or unset it to run without a server."
        ) from error


def stages_to_refresh(names: Iterable[str], stages: Sequence[str]) -> list[str]:
    """The named ones of the stages that a command runs. Raises UsageError for one that it does not."""
    for name in names:
        if name not in (*stages, "all"):
            close = difflib.get_close_matches(name, (*stages, "all"), n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"--refresh {name}: there is no such stage in this; {hint}there are {', '.join(stages)}, and "
                "all"
            )
    return list(stages) if "all" in names else list(names)
