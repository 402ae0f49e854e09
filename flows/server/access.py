"""Who may use the servers: whoever knows the secret of the home that they were started in.

A web page reaches the ports of loopback too, through the browser of whoever opened it, and what a Prefect
server is asked for, its workers run. So every request brings the secret, and comes from a page of our own.
"""

import json
import os
import secrets
import stat
from pathlib import Path

from tasks.errors import UsageError
from tasks.machine.home import ADDRESSES, home
from tasks.machine.locks import Timeout, holding

USER = "touchstone"
SECRET, SECRET_FILE = "TOUCHSTONE_SECRET", "TOUCHSTONE_SECRET_FILE"
HOSTS = "TOUCHSTONE_SERVER_HOSTS"  # told to a server: the names that a request may call it by
UP_LOCK = "up.lock"  # in mlruns/work/, held by `touchstone up`
CLIENTS = {  # the variables by which a client brings the secret, by that of the server's address
    "PREFECT_API_URL": ("PREFECT_API_AUTH_STRING",),
    "MLFLOW_TRACKING_URI": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
}
SHORTEST = 16  # characters of a secret

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secret_path() -> Path:
    return home() / "mlruns" / "work" / "secret"


def told_secret() -> str | None:
    """The secret that the environment tells, itself or the file that holds it.

    Raises UsageError for one that is too short to be one, and for a file that cannot be read.
    """
    secret = os.environ.get(SECRET)
    if path := os.environ.get(SECRET_FILE):
        if secret:
            raise UsageError(f"{SECRET} and {SECRET_FILE} are both set; unset one of them")
        try:
            secret = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise UsageError(f"{SECRET_FILE}: {path} cannot be read: {error}") from error
    elif not secret:
        return None
    secret = secret.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise UsageError("the secret of the servers is of printable ASCII characters; this one is not")
    if len(secret) < SHORTEST:
        raise UsageError(
            f"the secret of the servers has {len(secret)} characters and needs {SHORTEST}: set {SECRET} to "
            "what `openssl rand -hex 24` prints, or unset it, and touchstone up makes one"
        )
    return secret


def secret_of_home() -> str:
    """The secret that the environment tells, else this home's own, made when there is none yet.

    It is kept in the home, in a file for the user alone, where other commands find it. One process at a time.
    """
    told, kept = told_secret(), kept_secret()
    secret = told or kept or new_secret()
    if secret != kept:
        path = secret_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secret}\n")
    return secret


def required_secret() -> str:
    """The secret that a server is told. Raises UsageError when there is none."""
    if secret := told_secret():
        return secret
    raise UsageError(f"a server is not started without a secret: set {SECRET} or {SECRET_FILE}")


def kept_secret() -> str | None:
    """The secret in this home's file; one that others could have read is none."""
    try:
        path = secret_path()
        others = path.stat().st_mode & _OTHERS
        return None if others else path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def new_secret() -> str:
    """For a server that serves a single command."""
    return secrets.token_urlsafe(32)


def sign_in() -> None:
    """Let this process's clients bring the secret, where one is told, or the servers are those of this home.

    A server elsewhere is never sent this home's own secret. What the user has set already is kept. Call it
    before Prefect is imported. Raises UsageError as `told_secret` does.
    """
    told, kept = told_secret(), kept_secret()
    addresses = kept_addresses() if kept and not told else {}
    for address, names in CLIENTS.items():
        ours = address in addresses and os.environ.get(address) == addresses[address]
        if secret := told or (kept if ours else None):
            for name in names:
                os.environ.setdefault(name, credentials(secret)[name])


def kept_addresses() -> dict[str, str]:
    """Where the servers of the `touchstone up` of this home listen, by variable; empty while none runs.

    What was left by one that was killed is not believed: anyone may listen there now.
    """
    work = home() / "mlruns" / "work"
    try:
        addresses = json.loads((work / ADDRESSES).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a disk was full when it was written
        return {}
    try:
        with holding(work / UP_LOCK, timeout=0):
            return {}
    except Timeout:
        return addresses


def credentials(secret: str) -> dict[str, str]:
    """The variables by which the clients of Prefect and of MLflow bring the secret."""
    return {
        "PREFECT_API_AUTH_STRING": f"{USER}:{secret}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": secret,
    }
