"""What all processes of one test run share: servers, and results that are dear to make.

pytest-xdist's workers are processes. The first that needs something makes it under a lock and leaves its
description in a folder, which the controller names before it starts them; the others read it there. A server
ends with the controller, and the system ends it when the worker that started it dies.
"""

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock
from mlflow import MlflowClient

from flows.server.access import required_secret
from flows.server.servers import Place, Process, answers, free_port, mlflow_server, prefect_server

_NAMED = "PYTEST_SHARED_FOLDER"
_OURS = _NAMED not in os.environ  # whether this is the controller
if _OURS:
    os.environ[_NAMED] = tempfile.mkdtemp(prefix="touchstone-shared-")
FOLDER = Path(os.environ[_NAMED])

Told = dict[str, Any]


def once(name: str, make: Callable[[Path], Told]) -> Told:
    """What `make` told when it was called, in whichever process that was; it is given an empty folder."""
    folder = FOLDER / name
    with FileLock(FOLDER / f"{name}.lock"):
        told = FOLDER / f"{name}.json"
        if not told.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
            folder.mkdir()
            told.write_text(json.dumps(make(folder)), encoding="utf-8")
        return json.loads(told.read_text(encoding="utf-8"))


def database() -> Path:
    """An empty MLflow database to copy; MLflow needs two seconds for the tables of one."""
    return Path(once("database", _database)["path"])


def prefect() -> str:
    """The address of a Prefect server, ending in /api."""
    return once("prefect", _prefect)["address"]


def mlflow() -> tuple[str, Path]:
    """The address of an MLflow server, and the folder that it keeps artifacts in."""
    told = once("mlflow", _mlflow)
    return told["address"], Path(told["artifacts"])


def _database(folder: Path) -> Told:
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return {"path": str(folder / "mlflow.db")}


def _prefect(folder: Path) -> Told:
    place = Place(prefect_port=free_port())
    home = {"PREFECT_HOME": str(folder / "home")}
    server = prefect_server(place, folder / "log", required_secret(), home, brief=True)
    return _served(server, f"{place.prefect}/api")


def _mlflow(folder: Path) -> Told:
    place, artifacts = Place(mlflow_port=free_port()), folder / "artifacts"
    store = f"sqlite:///{folder / 'mlflow.db'}"
    server = mlflow_server(place, folder / "log", required_secret(), store, artifacts)
    return _served(server, place.mlflow) | {"artifacts": str(artifacts)}


def _served(server: Process, address: str) -> Told:
    server.start()
    try:
        server.wait_until(lambda: answers(f"{address}/health"))
    except BaseException:
        server.stop()
        raise
    return {"address": address, "pid": server.popen.pid}


def _end() -> None:
    """End the servers and remove the folder."""
    for path in FOLDER.glob("*.json"):
        with contextlib.suppress(KeyError, psutil.NoSuchProcess):
            server = psutil.Process(json.loads(path.read_text(encoding="utf-8"))["pid"])
            below = server.children(recursive=True)
            server.terminate()
            _, left = psutil.wait_procs([server, *below], timeout=20)
            for process in left:
                process.kill()
    shutil.rmtree(FOLDER, ignore_errors=True)


if _OURS:
    atexit.register(_end)  # before Prefect registers, which runs earlier then: it has logs to send yet
