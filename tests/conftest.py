"""What every test gets: an environment of its own, and fixtures that are dear to make.

The environment is set when this file is imported, before any test module imports Prefect, MLflow or
transformers, which read it then. Nothing of the developer's machine leaks in, nothing is written to the
checkout's `mlruns/` or to `~/.prefect`. Processes that tests start inherit it.
"""

import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics
from queue import Queue

import pytest

from tests.commands import CHECKOUT, LOGIN, end_what_is_left

FOREIGN = (
    "HF_",
    "HUGGING_FACE_",
    "MLFLOW_",
    "OLLAMA_",
    "OPENAI_",
    "PREFECT_",
    "TOUCHSTONE_",
    "TRANSFORMERS_",
)
KEPT = {"TOUCHSTONE_DATA", "TOUCHSTONE_EXAMPLES"}


def _isolate(home: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN) and name not in KEPT:
            del os.environ[name]
        if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            del os.environ[name]
    (home / "deployments").symlink_to(CHECKOUT / "deployments")  # the profiles are those of the checkout
    os.environ |= {
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "PREFECT_HOME": str(home / "prefect"),
        "TOUCHSTONE_HOME": str(home),
        "TOUCHSTONE_SECRET": LOGIN[1],
    }


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


HOME = Path(tempfile.mkdtemp(prefix="touchstone-tests-"))
_isolate(HOME)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell starts what runs in the background deaf to it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis  # noqa: E402
import mlflow  # noqa: E402
import mlflow.store.db.utils as db  # noqa: E402
import mlflow.store.model_registry.sqlalchemy_store as registry_store  # noqa: E402
import mlflow.tracing.export.async_export_queue as async_export_queue  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from sqlalchemy import Engine, event, text  # noqa: E402

import tasks.record.tracking  # noqa: E402
from flows.server.access import sign_in  # noqa: E402 - `flows` sets variables, which stay for all tests

sign_in()

from tasks.pretrain import speed  # noqa: E402
from tasks.record.stage import StageRun  # noqa: E402
from tasks.record.tracking import Tracking, open_tracking  # noqa: E402
from tests import shared  # noqa: E402 (names the folder before workers are started)
from tests.real_models import llama_server, smollm2_f32_gguf, smollm2_folder, smollm2_gguf  # noqa: E402, F401 - fixtures

# How many examples a property is tried on; TOUCHSTONE_EXAMPLES=1000 looks for long.
hypothesis.settings.register_profile(
    "suite", max_examples=int(os.environ.get("TOUCHSTONE_EXAMPLES", "50")), deadline=None
)
hypothesis.settings.load_profile("suite")


def pytest_unconfigure():
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_xdist_make_scheduler(config, log):
    """Of `--dist loadgroup`: a group goes to one worker, and so does a file, whose fixtures are made once."""
    from xdist.scheduler import LoadGroupScheduling

    class Scheduling(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            group = super()._split_scope(nodeid)
            return nodeid.partition("::")[0] if group == nodeid else group

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Processes are forked from a server that imports for ten seconds: one worker starts it, not each."""
    for item in items:
        if "processes" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk():
    """Tests kill processes and never the machine: what was written need not have reached the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        event.listen(Engine, "connect", _leave_the_disk_alone)
        yield
        event.remove(Engine, "connect", _leave_the_disk_alone)


def _leave_the_disk_alone(connection, _):
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.DatabaseError):  # a file that is none is for MLflow to find out
            connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def _connections_are_set_up_once():
    """MLflow sends SQLite three PRAGMAs before every transaction: half of all statements of these tests."""
    of_mlflow = db._get_managed_session_maker

    def session_maker(make_session, database):
        if database != db.SQLITE:
            return of_mlflow(make_session, database)
        managed = of_mlflow(make_session, "already set up")

        @contextlib.contextmanager
        def make_managed_session(read_only=True):
            with managed(read_only) as session:
                known = session.connection().info
                if "set up" not in known:
                    for pragma in ("foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true"):
                        session.execute(text(f"PRAGMA {pragma}"))
                    known["set up"] = True
                yield session

        return make_managed_session

    with pytest.MonkeyPatch.context() as patch:
        for module in (db, registry_store):
            patch.setattr(module, "_get_managed_session_maker", session_maker)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_model_is_a_prompt():
    """MLflow loads a model with all its versions before each tag, to tell it from a prompt; here is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "_raise_if_prompt", lambda client, name: None)
        yield


class PromptQueue(Queue):
    """A queue of MLflow's whose reader looks twenty times a second whether it is to end, not once."""

    def get(self, block=True, timeout=None):
        return super().get(block, timeout and min(timeout, 0.05))


@pytest.fixture(scope="session", autouse=True)
def _traces_are_flushed_at_once():
    """Whoever reads traces back flushes them first, and would wait a second for the idle reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_export_queue, "Queue", PromptQueue)
        yield


@pytest.fixture(scope="session", autouse=True)
def _matrix_products_are_small():
    """The product that utilisation is told against takes longer than the trainings of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(speed.MATRIX_SIDE, "cpu", 64)
        yield


@pytest.fixture(scope="session", autouse=True)
def _garbage_is_not_looked_for_in_libraries():
    """Every training ends with a collection, which walks through all that was imported: a million objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


PAINT = Figure.savefig


@pytest.fixture(scope="session", autouse=True)
def _pictures_are_not_painted():
    """The layout of a picture takes as long as a training of these tests; with `painted` it is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **_: path.write_bytes(b"\x89PNG\r\n\x1a\n"))
        yield


@pytest.fixture
def painted(monkeypatch):
    """For tests of pictures."""
    monkeypatch.setattr(Figure, "savefig", PAINT)


@pytest.fixture(autouse=True)
def _no_store_of_another_test():
    """MLflow keeps the store that was opened last in the environment, where the next test would find it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def _no_command_of_another_test():
    """A training whose test has failed would go on for hours, and every later test wait for it."""
    yield
    end_what_is_left()


@pytest.fixture
def clock():
    """Seconds that pass when a test says so."""
    return Clock()


@pytest.fixture(scope="module")
def one_thread():
    """Two threads that wait for each other take many times as long on a machine that does other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processes():
    """Real processes, forked from a server that has already imported what they need.

    Python has one such server for all contexts, so what any test needs of it is imported here.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "hypothesis",
            "pytest",
            "tasks.pretrain.stage",
            "tasks.finetune.sft",
            "tasks.classify.stage",
            "tasks.generate.stage",
            "tasks.judge.score.stage",
        ]
    )
    return context


@pytest.fixture(scope="session")
def fresh_store():
    """A function that opens a new store in a folder."""

    def fresh(root: Path) -> Tracking:
        root.mkdir(parents=True)
        shutil.copyfile(shared.database(), root / "mlflow.db")
        return open_tracking(root, f"sqlite:///{root / 'mlflow.db'}")

    return fresh


@pytest.fixture(scope="session")
def _store(tmp_path_factory, fresh_store) -> Tracking:
    return fresh_store(tmp_path_factory.mktemp("store") / "mlruns")


@pytest.fixture
def tracking(_store) -> Tracking:
    """An open store that all tests share, so each test brings keys of its own."""
    mlflow.set_tracking_uri(_store.uri)
    return _store


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs: the folder named by TOUCHSTONE_DATA, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("TOUCHSTONE_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is no folder; set TOUCHSTONE_DATA to one")
    return folder


@pytest.fixture
def stage_run(tmp_path):
    """A factory for what a running stage is given, in folders of this test and without MLflow."""

    def make(name: str = "run", **options) -> StageRun:
        folder = tmp_path / name
        return StageRun(
            out=folder / "output", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint", **options
        )

    return make


@pytest.fixture
def quick_judges(monkeypatch):
    """Judges that are tried again at once, and are only where a test says."""
    monkeypatch.setattr("tasks.servers.retries.BASE_DELAY", 0.001)
    for name in ("OLLAMA_HOST", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(monkeypatch, capsys):
    """The command in this process; gives its status and what it printed, on standard output and error."""
    from flows.command.cli import main

    listened = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["touchstone", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    yield run
    for number, before in listened.items():
        signal.signal(number, before)


@pytest.fixture
def touchstone(command, tmp_path, monkeypatch):
    """The same, at home in a folder of the test, where no server is."""
    if not (tmp_path / "deployments").exists():
        (tmp_path / "deployments").symlink_to(CHECKOUT / "deployments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # set first, so that both are put back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return command


@pytest.fixture
def mlflow_server(tmp_path, monkeypatch):
    """The address of an MLflow server, and the folder in which it keeps the artifacts of this test."""
    monkeypatch.setattr(tasks.record.tracking, "EXPERIMENT", str(tmp_path))
    address, artifacts = shared.mlflow()
    return address, artifacts / open_tracking(tmp_path / "mlruns", address).experiment_id


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """One document to train on, cut into a training and a validation split."""
    from tests.pretrain.training import tokens_of

    return tokens_of(topics["assignment"][:6000], tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def documents(tmp_path_factory):
    """Many documents to train on, from a few tokens to more than a context."""
    from tests.pretrain.training import tokens_of

    texts = [line for line in topics["assignment"].splitlines() if line.strip()][:120]
    return tokens_of(texts, tmp_path_factory.mktemp("documents"))
