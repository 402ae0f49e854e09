"""Processes that Touchstone starts and takes down again: servers of Prefect and MLflow, and workers."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.compat import BRIEF_SERVER
from flows.process.intervals import FLOW_HEARTBEAT, intervals
from flows.server.access import HOSTS, SECRET, SECRET_FILE
from tasks.errors import StageError, UsageError
from tasks.machine.addresses import LOOPBACK, bracketed, is_loopback, reached
from tasks.machine.home import home

READY_WITHIN = 120.0  # seconds that a server may take until it answers
TAIL = 12  # lines of a log that are shown when its process died

RETENTION = {  # of what Prefect keeps of a flow run; the user may set others
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 60 * 60),  # seconds
}
IP = (socket.AF_INET, socket.AF_INET6)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


@dataclass(frozen=True)
class Place:
    """Where the servers listen and keep what they know."""

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    postgres: str | None = None
    public: tuple[str, ...] = ()
    """Other names that machines, or a proxy, call this one by."""

    @property
    def prefect(self) -> str:
        return f"http://{self._reached}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self._reached}:{self.mlflow_port}"

    @property
    def _reached(self) -> str:
        """The host as processes of this machine reach it."""
        return bracketed(reached(self.host))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names and addresses that a request may call the servers by."""
        if not self.shared:
            return tuple(dict.fromkeys((*LOOPBACK, self.host, *self.public)))
        own = [socket.gethostname(), f"{socket.gethostname()}.local", socket.getfqdn(), *self.public]
        if self.host not in ("0.0.0.0", "::"):
            return (self.host, *own)
        found = [each.address for of in psutil.net_if_addrs().values() for each in of if each.family in IP]
        return (*LOOPBACK, *(address.partition("%")[0] for address in found), *own)

    @property
    def shared(self) -> bool:
        """Whether other machines are to use it: artifacts are then handed out by the server."""
        return not is_loopback(self.host)


@dataclass
class Process:
    """A process in a session of its own, its output in a log."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, deaf to the terminal's Ctrl-C, and ended by the system when this process is killed."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def stop(self, grace: float | None = None) -> None:
        """Ask the process to end; after `grace` seconds, else what is set, end it and what it has left."""
        if self.popen is None:
            return
        started = self._descendants()
        if self.running:
            self.popen.terminate()
        try:
            self.popen.wait(grace if grace is not None else intervals().grace)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for left in started:  # a worker's flows are in sessions of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.popen.pid).children(recursive=True) if self.popen else []
        except psutil.NoSuchProcess:
            return []  # it was killed, and what it started is the system's, or an orphan of ours

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL:])

    def wait_until(self, ready: Callable[[], bool], within: float = READY_WITHIN) -> None:
        """Raises StageError, with the end of the log, when it dies first or is not ready in time."""
        deadline = time.monotonic() + within
        while not ready():
            if not self.running:
                code = self.popen.returncode if self.popen else None
                raise StageError(f"{self.name} ended with status {code}:\n{self.tail()}\n(from {self.log})")
            if time.monotonic() > deadline:
                raise StageError(f"{self.name} was not ready after {within:.0f} s:\n{self.tail()}")
            time.sleep(0.1)


def _end_with_parent() -> None:
    """In the new process: signals as they are by default, and SIGTERM when whoever started it is gone.

    A shell starts jobs in the background deaf to Ctrl-C, which is inherited and would make workers deaf too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent, one of ours, was killed: they can then be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_orphans(known: Sequence[Process]) -> None:
    """End the processes that are ours and none of the known ones, with all that they started."""
    ours = {process.popen.pid for process in known if process.popen}
    for orphan in psutil.Process().children():
        if orphan.pid not in ours:
            for process in (*orphan.children(recursive=True), orphan):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan.pid, 0)


def answers(address: str) -> bool:
    """Whether a server says at `address` that it is well."""
    try:
        verify = address.startswith("https://")  # certificates take a while to read
        return httpx.get(address, timeout=5, trust_env=False, verify=verify).is_success
    except httpx.HTTPError:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens at a port. Raises UsageError for an address that is none of this machine."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise UsageError(f"{host}:{port} cannot be listened at: {error}") from error
    return True


def logs_folder() -> Path:
    return home() / "mlruns" / "work" / "logs"


def prefect_server(
    place: Place, log: Path, secret: str, environment: Mapping[str, str] | None = None, *, brief: bool = False
) -> Process:
    """A Prefect server; `brief` is one for a single command, without what such a command has no use for.

    That is the UI and what feeds it, schedules, automations, and the types of blocks, for which Prefect
    imports every integration that is installed. Prefect's own temporary server outlives a command that is
    killed, and a command that is terminated together with it hangs.
    """
    settings = _guarded(place, secret) | {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(place.hosts, str(place.prefect_port))),
        "PREFECT_UI_API_URL": "/api",  # of whichever address the browser has reached
    }
    if brief:
        settings |= BRIEF_SERVER
    command = [sys.executable, "-P", str(Path(__file__).with_name("prefect_app.py"))]
    command += [place.host, str(place.prefect_port)]
    told = RETENTION | _inherited("PREFECT_API_URL", SECRET_FILE) | settings | dict(environment or {})
    return Process("Prefect server", command, told, log)


def mlflow_server(
    place: Place,
    log: Path,
    secret: str,
    store: str,
    artifacts: Path,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """An MLflow server on a store, which hands out the artifacts of runs that are kept there.

    The store is told by the environment, as it may hold a password, which a command line would show.
    """
    own = [origin.replace("[", "[[]") for origin in origins(place.hosts, "*")]  # they are patterns
    settings = _guarded(place, secret) | {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the guard stands before it, and knows names in capitals too
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # ten processes and two gigabytes
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "touchstone"]
    command += ["--host", place.host, "--port", str(place.mlflow_port)]
    command += ["--workers", "1", "--artifacts-destination", str(artifacts)]
    told = _inherited("MLFLOW_TRACKING_URI", SECRET_FILE) | settings | dict(environment or {})
    return Process("MLflow server", command, told, log)


def _guarded(place: Place, secret: str) -> dict[str, str]:
    return {SECRET: secret, HOSTS: ",".join(place.hosts), "DO_NOT_TRACK": "1"}


def _inherited(*but: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in but}


def origins(hosts: Sequence[str], port: str) -> list[str]:
    """The origins of pages that a server serves, directly or behind a proxy that adds TLS."""
    named = [each for host in hosts for each in _with_port(host, port)]
    return [f"{scheme}://{each}" for scheme in ("http", "https") for each in named]


def _with_port(host: str, port: str) -> tuple[str, str]:
    host = bracketed(host.lower())
    return host, f"{host}:{port}"


ENGINE = "python -m prefect.engine"  # the Python of the worker: `worker_environment` puts it on the path
QUERY_SECONDS, HEARTBEAT_SECONDS = 1, 10  # how often a worker asks for work, and says that it lives


def worker(pool: str, limit: int, log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """A Prefect worker that runs up to `limit` flows at once, each in a process of its own."""
    return Process(
        f"worker of {pool}", worker_command(pool, limit), worker_environment() | dict(environment or {}), log
    )


def worker_name(pool: str) -> str:
    """What a worker that this process starts for a pool is called."""
    return f"{socket.gethostname()}-{pool}-{os.getpid()}"


def worker_command(pool: str, limit: int) -> list[str]:
    return [sys.executable, "-P", "-m", "flows.server.worker_app", pool, worker_name(pool), str(limit)]


def job_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's, with how often a run says that it lives: else an automation ends it as dead."""
    beat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(FLOW_HEARTBEAT)}
    return dict(given) | {"env": beat | given.get("env", {})}


def worker_environment() -> dict[str, str]:
    """What a worker and the flows that it starts are told; what the user set is kept."""
    settings = {
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(FLOW_HEARTBEAT),
        "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS),
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return settings | dict(os.environ) | {"PATH": path}
