"""The connection to MLflow: where it is, opened safely by any number of processes at once."""

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote, urlparse

import httpx
from mlflow import MlflowClient, get_tracking_uri, set_tracking_uri
from mlflow.entities import Experiment, Metric, Param, RunTag, Trace
from mlflow.exceptions import MlflowException

from tasks.errors import StageError, UnreachableError, UsageError, causes
from tasks.machine.addresses import WEB, parse_address
from tasks.machine.disk import explained, not_ours
from tasks.machine.home import home, without_password
from tasks.machine.locks import holding
from tasks.machine.proxies import takes_proxy

# MLflow looks on the hub for a card of models that come from no hub, and prints the traceback of errors that
# it also raises.
logging.getLogger("mlflow").setLevel(logging.CRITICAL)

EXPERIMENT = "touchstone"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # without it the UI opens on traces, "Traces 0"
MARK, MARK_FILE = "touchstone.artifacts", ".touchstone"  # tag of the experiment, file among its artifacts
LOCKED = "database is locked"  # says SQLite, when it has waited its 20 seconds
FAILING = "too many 500 error responses"  # says the client of a server
GONE = (  # likewise
    "Max retries exceeded",
    "Connection aborted",
    "Connection refused",
    "failed with timeout exception",
)
PARAM_LIMIT = 6000  # characters that MLflow keeps of a parameter
BATCH_LIMIT = 1000  # metrics in one request; parameters and tags: 100
PARAMS_PER_BATCH = 100
NAME_LIMIT = 250  # characters of the name of a metric or a tag
TRACES_AT_ONCE = 100  # in one answer of MLflow


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


def open_tracking(
    root: Path | None = None, uri: str | None = None, *, wait: float = 0, served: bool = False
) -> Tracking:
    """Connect to MLFLOW_TRACKING_URI, or to `mlruns/mlflow.db`, creating both store and experiment.

    Several processes that open a fresh database at once break it for good (half-run migrations), and two
    that create the same experiment collide: both happen under one file lock. A server may take `wait`
    seconds to answer. With `served`, artifacts of a database that is opened here are kept by the server that
    will be started on it; else they are files of this machine.

    Raises UsageError when the store cannot be opened, or its artifacts are files of another machine.
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
        _check_address(uri)
        _check_answers(uri, wait)
        with holding(root / "work" / "open.lock"):
            _make_database(uri)
            set_tracking_uri(uri)
            client = MlflowClient(tracking_uri=uri)
            location = _location(root, uri, served)
            experiment = client.get_experiment_by_name(EXPERIMENT) or _create_experiment(client, location)
    except Exception as error:  # each store fails in its own way; the address is what a person can fix
        if (told := explained(error, root)) is not error:
            raise told from error
        if told := not_ours(error, root):
            raise told from error
        if wait and isinstance(error, httpx.TransportError):
            raise UnreachableError(
                f"the MLflow server {without_password(uri)} has not answered for {wait:.0f} s: {error}"
            ) from error
        raise UsageError(
            f"the MLflow store {without_password(uri)} could not be opened: {_first_line(error)}. "
            "Check MLFLOW_TRACKING_URI, or unset it to keep everything in mlruns/."
        ) from error
    if experiment.lifecycle_stage == "deleted":
        raise UsageError(
            f"the MLflow experiment {EXPERIMENT!r} in {without_password(uri)} was deleted; restore it with: "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    _require_own_artifacts(experiment, uri, root)
    return Tracking(client, uri, experiment.experiment_id, root)


def _make_database(uri: str) -> None:
    """Make an SQLite database that is not there under another name first: nobody repairs half of one."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # takes a second

    part = path.with_name(f"{path.name}.part")
    for left in path.parent.glob(f"{part.name}*"):  # by a kill
        left.unlink()
    SqlAlchemyStore(f"sqlite:///{part}", (path.parent / "artifacts").as_uri()).engine.dispose()
    part.replace(path)


def _check_address(uri: str) -> None:
    """Raises ValueError for the address of a server that is none; other stores have other addresses."""
    if uri.startswith(("http://", "https://")):
        parse_address(uri, WEB)
    elif "://" not in uri and ":" in uri.partition("/")[0] and not uri.startswith("sqlite:"):
        raise ValueError("the address of a server begins with http:// or https://")


def _check_answers(uri: str, wait: float = 0, within: float = 10) -> None:
    """Ask a server for any answer first: MLflow's own client retries a dead one for a minute or more."""
    if not uri.startswith(("http://", "https://")):
        return
    deadline = time.monotonic() + wait
    while True:
        try:
            httpx.get(
                f"{uri.rstrip('/')}/health", timeout=within, follow_redirects=True, trust_env=takes_proxy(uri)
            )
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def is_reachable(uri: str, within: float = 10) -> bool:
    """Whether anything answers there within seconds, asked once; a store that is no server always is."""
    try:
        _check_answers(uri, within=within)
    except httpx.HTTPError:
        return False
    return True


def explained_by_store(error: BaseException, uri: str) -> StageError | None:
    """What to tell instead of an error of a store that is locked, gone or failing; None for any other."""
    for cause in causes(error):
        if isinstance(cause, Exception) and LOCKED in str(cause):
            return UnreachableError(
                "the database of MLflow has been locked by another process for longer than it is waited for. "
                "Look for what holds it, and run again; or keep MLflow in PostgreSQL"
            )
        if isinstance(cause, MlflowException) and FAILING in str(cause):
            return StageError(
                f"the MLflow server {without_password(uri)} fails at every attempt (status 500). Its log "
                "says why: a full disk on its machine, mostly. Make space there, and run again"
            )
        if isinstance(cause, MlflowException) and any(words in str(cause) for words in GONE):
            return UnreachableError(
                f"the MLflow server {without_password(uri)} does not answer any more. Run again once it "
                "does: what is done is found, and an unfinished stage goes on from its checkpoint"
            )
    return None


def raise_if_away(error: BaseException) -> None:
    """Raise what explains an error if it is that the store did not answer.

    What was asked for may then be there all the same.
    """
    if told := explained_by_store(error, get_tracking_uri()):
        raise told from error


def _location(root: Path, uri: str, served: bool) -> str | None:
    """Where a new experiment keeps its artifacts; a server that is asked decides that by itself."""
    if uri.startswith(("http://", "https://")):
        return None
    return f"mlflow-artifacts:/{EXPERIMENT}" if served else (root / "artifacts").as_uri()


def _create_experiment(client: MlflowClient, location: str | None) -> Experiment:
    """Artifacts that are files are marked, so that another machine can tell that they are none of its own."""
    tags = dict(KIND)
    if location and (folder := local_folder(location)):
        folder.mkdir(parents=True, exist_ok=True)
        tags[MARK] = uuid.uuid4().hex
        (folder / MARK_FILE).write_text(tags[MARK], encoding="utf-8")
    return client.get_experiment(client.create_experiment(EXPERIMENT, location, tags))


def _require_own_artifacts(experiment: Experiment, uri: str, root: Path) -> None:
    """Raises UsageError when artifacts would be written to a folder that only another machine reads.

    Likewise for a copy of `mlruns/`, whose database names the files of the original: what is cleaned in the
    copy would be gone there.
    """
    folder = local_folder(experiment.artifact_location)
    mark = experiment.tags.get(MARK)
    if folder is None or mark is None:
        return
    path = folder / MARK_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != mark:
        raise UsageError(
            f"{without_password(uri)} keeps artifacts in {folder}, a folder of another machine (or one that "
            f"was moved: {path} is not there). Start its MLflow server with `touchstone up --host ADDRESS` "
            "on a fresh mlruns/, which then hands them out to all machines."
        )
    copied = root / "artifacts"
    is_marked = (copied / MARK_FILE).is_file() and (copied / MARK_FILE).read_text(encoding="utf-8") == mark
    if is_marked and not copied.samefile(folder):
        raise UsageError(
            f"{root} is a copy: its database names the artifacts of the original, {folder}, which "
            "what is done here would change. Work in the original "
            f"(TOUCHSTONE_HOME={folder.parent.parent}); the copy can take its place when that is lost."
        )


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


def traces_of(tracking: Tracking, run_id: str, *, spans: bool = False) -> Iterator[Trace]:
    """Every trace that was made under a run, with its assessments; what it holds only with `spans`."""
    token = None
    while True:
        page = tracking.client.search_traces(
            locations=[tracking.experiment_id],
            run_id=run_id,
            max_results=TRACES_AT_ONCE,
            page_token=token,
            include_spans=spans,
        )
        yield from page
        token = page.token
        if not token:
            return


def mlflow_name(text: str, suffix: str = "") -> str:
    """A text as MLflow takes it for the name of a metric or a tag, whose `suffix` is never cut."""
    return normpath(re.sub(r"[^\w./ -]", "_", text)[: NAME_LIMIT - len(suffix)] + suffix)


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
    _sending: tuple[list[Metric], Future[None]] | None = None

    def __post_init__(self) -> None:
        self._sender.submit(int).result()  # its thread is there: an interruption cannot make a second one

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
        self._settle()
        sending, self._waiting = self._waiting, []
        self._sent = time.monotonic()
        self._sending = sending, self._sender.submit(self._send, sending)
        self._settle()

    def _settle(self) -> None:
        """Wait for what is being sent, also by a flush that was interrupted; what failed waits again."""
        if self._sending is None:
            return
        metrics, future = self._sending
        try:
            future.result()
        except Exception:
            self._waiting = metrics + self._waiting
            self._sending = None
            raise
        self._sending = None

    def _send(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), BATCH_LIMIT):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH_LIMIT])
