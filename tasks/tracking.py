"""The connection to MLflow: where it is, opened safely by any number of processes at once."""

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import httpx
from filelock import FileLock
from mlflow import MlflowClient, set_tracking_uri
from mlflow.entities import Experiment, Metric, Param, RunTag

from tasks.disk import explained
from tasks.errors import UsageError
from tasks.home import home, without_password

# MLflow looks on the hub for a card of models that come from no hub, and prints the traceback of errors that
# it also raises.
logging.getLogger("mlflow").setLevel(logging.CRITICAL)

EXPERIMENT = "touchstone"
PARAM_LIMIT = 6000  # characters that MLflow keeps of a parameter
BATCH_LIMIT = 1000  # metrics in one request; parameters and tags: 100
PARAMS_PER_BATCH = 100
TAG_NAME_LIMIT = 250  # characters


@dataclass(frozen=True)
class Tracking:
    """An open tracking store: its client, Touchstone's experiment in it, and this machine's folders."""

    client: MlflowClient
    uri: str
    experiment_id: str
    root: Path  # mlruns/

    @property
    def work(self) -> Path:
        """Unfinished stages, locks and downloads of this machine."""
        return self.root / "work"


def open_tracking(root: Path | None = None, uri: str | None = None) -> Tracking:
    """Connect to MLFLOW_TRACKING_URI, or to `mlruns/mlflow.db`, creating both store and experiment.

    Several processes that open a fresh database at once break it for good (half-run migrations), and two
    that create the same experiment collide: both happen under one file lock.

    Raises UsageError when the store cannot be opened.
    """
    root = (root or home() / "mlruns").resolve()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        if set("?%") & set(str(root)):  # with ? the database lands elsewhere, with % it is not found
            raise UsageError(
                f"MLflow's store cannot be in {root}: SQLite misreads a ? or % in a path. Move it."
            )
        uri = f"sqlite:///{root / 'mlflow.db'}"
    try:
        (root / "work").mkdir(parents=True, exist_ok=True)
        with FileLock(root / "work" / "open.lock"):
            _check_answers(uri)
            set_tracking_uri(uri)
            client = MlflowClient(tracking_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT) or _create_experiment(client, root, uri)
    except Exception as error:  # each store fails in its own way; the address is what a person can mend
        if (told := explained(error, root)) is not error:
            raise told from error
        raise UsageError(
            f"the MLflow store {without_password(uri)} could not be opened: {_first_line(error)}. "
            "Check MLFLOW_TRACKING_URI, or unset it to keep everything in mlruns/."
        ) from error
    if experiment.lifecycle_stage == "deleted":
        raise UsageError(
            f"the MLflow experiment {EXPERIMENT!r} in {without_password(uri)} was deleted; restore it with: "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    return Tracking(client, uri, experiment.experiment_id, root)


def _check_answers(uri: str) -> None:
    """Ask a server for any answer first: MLflow's own client retries a dead one for minutes."""
    if uri.startswith(("http://", "https://")):
        httpx.get(f"{uri.rstrip('/')}/health", timeout=10, follow_redirects=True)


def _create_experiment(client: MlflowClient, root: Path, uri: str) -> Experiment:
    embedded = urlparse(uri).scheme == "sqlite"
    location = (root / "artifacts").as_uri() if embedded else None  # a server keeps its own artifact root
    return client.get_experiment(client.create_experiment(EXPERIMENT, artifact_location=location))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def local_folder(uri: str) -> Path | None:
    """The folder behind an artifact URI when it is one of this machine, else None."""
    parsed = urlparse(uri)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost"):
        return Path(unquote(parsed.path))
    return Path(uri) if not parsed.scheme else None


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, object]) -> None:
    """Log every parameter, in as few requests as the server takes."""
    entries = [Param(name, str(value)[:PARAM_LIMIT]) for name, value in params.items()]
    for start in range(0, len(entries), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, object]) -> None:
    client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


@dataclass
class MetricBuffer:
    """Metrics on their way to a run: sent by hundreds, or when two seconds have passed.

    One request a metric would make seventeen a second over HTTP; batches make thousands.
    """

    client: MlflowClient
    run_id: str
    every: float = 2.0  # seconds
    _waiting: list[Metric] = field(default_factory=list)
    _sent: float = field(default_factory=time.monotonic)
    _sender: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def add(self, values: Mapping[str, float], step: int) -> None:
        now = time.time_ns() // 1_000_000
        self._waiting += [Metric(name, float(value), now, step) for name, value in values.items()]
        if len(self._waiting) >= BATCH_LIMIT // 2 or time.monotonic() - self._sent > self.every:
            self.flush()

    def flush(self) -> None:
        """Send what waits.

        In a thread of its own: an interruption reaches the main thread alone, where it would leave a
        transaction half done and the database locked to whoever then ends the run.
        """
        sending, self._waiting = self._waiting, []
        self._sent = time.monotonic()
        try:
            self._sender.submit(self._send, sending).result()
        except Exception:
            self._waiting = sending + self._waiting
            raise

    def _send(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), BATCH_LIMIT):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH_LIMIT])
