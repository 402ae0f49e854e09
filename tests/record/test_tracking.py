"""The connection to MLflow: opened by any number of processes at once, and written to in batches."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.errors import UnreachableError, UsageError
from tasks.machine.home import home
from tasks.record import tracking as tracking_module
from tasks.record.tracking import (
    EXPERIMENT,
    MetricBuffer,
    explained_by_store,
    local_folder,
    log_params,
    mlflow_name,
    open_tracking,
    set_tags,
)
from tasks.registry.versions import champion_of
from tests.commands import CHECKOUT


@pytest.fixture
def run_id(tracking):
    return tracking.client.create_run(tracking.experiment_id).info.run_id


@pytest.fixture
def batches(tracking, monkeypatch):
    """What is sent with `log_batch`, call by call."""
    sent, real = [], tracking.client.log_batch

    def spy(run_id, metrics=(), params=(), tags=()):
        sent.append([*metrics, *params, *tags])
        return real(run_id, metrics, params, tags)

    monkeypatch.setattr(tracking.client, "log_batch", spy)
    return sent


# Where the store is


def test_home_is_the_checkout_unless_the_environment_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path / "x" / ".."))
    assert home() == tmp_path
    monkeypatch.setenv("TOUCHSTONE_HOME", "")
    assert home() == CHECKOUT


def test_the_tests_write_nothing_into_the_checkout():
    assert home() != CHECKOUT
    assert os.environ["PREFECT_HOME"].startswith(str(home()))


def test_the_experiment_opens_on_its_runs_and_not_on_traces(tracking):
    experiment = tracking.client.get_experiment(tracking.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_open_store_leaves_no_lock_file(tracking):
    assert list(tracking.work.glob("open.lock")) == []


def test_the_store_of_the_environment_is_taken(tracking, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    opened = open_tracking(tmp_path)
    assert (opened.uri, opened.experiment_id) == (tracking.uri, tracking.experiment_id)
    assert opened.work == tmp_path / "work"
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///a/b", Path("/a/b")),
        ("file:///a%20b/%C3%A9%23", Path("/a b/é#")),
        ("file://localhost/a", Path("/a")),
        ("/a/b c", Path("/a/b c")),
        ("file://elsewhere/a", None),
        ("mlflow-artifacts:/1/2/artifacts", None),
        ("s3://bucket/a", None),
        ("https://host/a", None),
    ],
)
def test_only_a_folder_of_this_machine_is_a_local_folder(uri, folder):
    assert local_folder(uri) == folder


# Opening


def _open_at_once(root, barrier, answers):
    """In a process of its own: wait until all are there, then open the store together."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of the test that started the first process
    barrier.wait()
    try:
        tracking = open_tracking(root)
        answers.put((tracking.experiment_id, None))
    except Exception as error:
        answers.put((None, repr(error)))


@pytest.mark.slow
def test_many_processes_open_a_fresh_store_at_once(tmp_path, processes):
    """A fresh database opened by several at once is broken for good: FACTS-prefect-mlflow.md."""
    count, root = 6, tmp_path / "a b#é" / "mlruns"
    barrier, answers = processes.Barrier(count), processes.Queue()
    each = [processes.Process(target=_open_at_once, args=(root, barrier, answers)) for _ in range(count)]
    for process in each:
        process.start()
    found = [answers.get(timeout=120) for _ in each]
    for process in each:
        process.join()
    experiments = {experiment for experiment, _ in found}
    assert [fault for _, fault in found if fault] == []
    assert len(experiments) == 1

    tracking = open_tracking(root)
    assert {tracking.experiment_id} == experiments
    names = [experiment.name for experiment in tracking.client.search_experiments()]
    assert names.count(EXPERIMENT) == 1
    run = tracking.client.create_run(tracking.experiment_id)
    tracking.client.log_text(run.info.run_id, "x", "a.txt")
    assert (local_folder(run.info.artifact_uri) / "a.txt").is_relative_to(root / "artifacts")
    assert (local_folder(run.info.artifact_uri) / "a.txt").read_text() == "x"


def test_deleted_experiment_is_named_with_the_way_to_restore_it(tracking, monkeypatch):
    monkeypatch.setattr(tracking_module, "EXPERIMENT", "deleted")
    experiment = tracking.client.create_experiment("deleted")
    tracking.client.delete_experiment(experiment)
    with pytest.raises(
        UsageError, match=f"'deleted' in .* was deleted; .*restore --experiment-id {experiment}"
    ):
        open_tracking(tracking.root, tracking.uri)


def test_a_file_that_is_no_database_is_a_usage_error(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(UsageError) as raised:
        open_tracking(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"the MLflow store sqlite:///{tmp_path}/mlflow.db could not be opened: ")
    assert "file is not a database" in message
    assert "Check MLFLOW_TRACKING_URI" in message
    assert "\n" not in message


@pytest.mark.parametrize("uri", ["nonsense://x", "file:///tmp/mlruns-in-files"])
def test_a_store_of_an_unknown_kind_is_a_usage_error(tmp_path, uri):
    with pytest.raises(UsageError, match=f"the MLflow store {uri} could not be opened: "):
        open_tracking(tmp_path, uri)


def test_a_root_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written to: .*Not a directory.*TOUCHSTONE_HOME"):
        open_tracking(tmp_path / "file" / "mlruns")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            MlflowException("API request to http://x failed: Max retries exceeded"),
            "does not answer",
        ),
        (MlflowException("API request to http://x failed with timeout exception: read"), "does not answer"),
        (MlflowException("Max retries exceeded (too many 500 error responses)"), "full disk on its machine"),
        (MlflowException("(sqlite3.OperationalError) database is locked"), "has been locked"),
        (MlflowException("API request failed: 404"), None),
        (OSError("Connection refused"), None),  # by another server than MLflow's
    ],
)
def test_store_that_is_gone_or_locked_is_told_from_other_errors(error, told):
    try:
        raise ValueError("somewhere above") from error
    except ValueError as raised:
        found = explained_by_store(raised, "http://user:hidden@x")
    assert (found is None) == (told is None)
    if found:
        assert told in str(found)
        assert "hidden" not in str(found)


def test_server_waited_for_is_then_unreachable_not_misconfigured(tmp_path):
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="has not answered for 0 s"):
        open_tracking(tmp_path, "http://127.0.0.1:9", wait=0.4)
    assert time.monotonic() - started < 10
    with pytest.raises(UsageError, match="Check MLFLOW_TRACKING_URI"):
        open_tracking(tmp_path, "http://127.0.0.1:9")


@pytest.mark.parametrize("name", ["what?", "100%25"])
def test_a_path_that_sqlite_misreads_is_refused_at_once(tmp_path, name):
    with pytest.raises(UsageError, match=r"SQLite misreads a \? or % in a path"):
        open_tracking(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Batches


def test_a_thousand_metrics_are_a_few_requests(tracking, run_id, batches):
    buffer = MetricBuffer(tracking.client, run_id, every=1e9)
    for step in range(1000):
        buffer.add({"loss": 1 / (step + 1), "learning_rate": 0.1}, step)
    buffer.flush()
    assert [len(batch) for batch in batches] == [500, 500, 500, 500]
    history = tracking.client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(n, 1 / (n + 1)) for n in range(1000)]


def test_metrics_do_not_wait_longer_than_they_should(tracking, run_id, batches):
    buffer = MetricBuffer(tracking.client, run_id, every=0.0)
    buffer.add({"loss": 1.0}, 1)
    buffer.add({"loss": 2.0}, 2)
    assert [len(batch) for batch in batches] == [1, 1]


def test_metrics_beyond_one_request_are_sent_in_several(tracking, run_id, batches):
    buffer = MetricBuffer(tracking.client, run_id, every=1e9)
    buffer.add({f"m{number}": number for number in range(1500)}, 0)
    assert [len(batch) for batch in batches] == [1000, 500]
    assert len(tracking.client.get_run(run_id).data.metrics) == 1500


def test_flushing_nothing_sends_nothing(tracking, run_id, batches):
    MetricBuffer(tracking.client, run_id).flush()
    assert batches == []


def test_an_interruption_leaves_no_request_half_done(tracking, run_id, monkeypatch):
    """In the main thread it would stand in the middle of a transaction, and lock the database."""
    inside, interrupted, log_batch = threading.Event(), threading.Event(), MlflowClient.log_batch

    def slow(client, *args, **kwargs):
        inside.set()
        assert interrupted.wait(30)
        log_batch(client, *args, **kwargs)

    def interrupt(*_):
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    buffer = MetricBuffer(tracking.client, run_id, every=1e9)
    buffer.add({"loss": 1.0}, 1)
    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident  # of another thread it would not wake this one

    def kill():
        inside.wait(30)
        signal.pthread_kill(main, signal.SIGUSR1)
        while not interrupted.wait(1):  # it fell between the check for signals and the wait that it ends
            signal.pthread_kill(main, signal.SIGUSR1)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            buffer.flush()
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, before)
    buffer.add({"loss": 2.0}, 2)
    buffer.flush()
    assert [point.value for point in tracking.client.get_metric_history(run_id, "loss")] == [1, 2]


def test_a_failed_request_is_sent_again_with_the_next(tracking, run_id, monkeypatch):
    buffer = MetricBuffer(tracking.client, run_id, every=1e9)
    buffer.add({"loss": 1.0}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            buffer.flush()
    buffer.flush()
    assert [point.value for point in tracking.client.get_metric_history(run_id, "loss")] == [1]


def test_a_metric_keeps_its_history_after_several_flushes(tracking, run_id):
    buffer = MetricBuffer(tracking.client, run_id, every=1e9)
    for step in (1, 2):
        buffer.add({"loss": step}, step)
        buffer.flush()
        buffer.flush()
    assert [point.value for point in tracking.client.get_metric_history(run_id, "loss")] == [1, 2]


def test_more_parameters_than_a_request_takes_are_all_kept(tracking, run_id, batches):
    log_params(tracking.client, run_id, {f"a.b{number}": number for number in range(250)})
    assert [len(batch) for batch in batches] == [100, 100, 50]
    kept = tracking.client.get_run(run_id).data.params
    assert kept == {f"a.b{number}": str(number) for number in range(250)}


def test_a_parameter_is_cut_where_mlflow_would_refuse_it(tracking, run_id):
    log_params(tracking.client, run_id, {"long": "ü" * 6001, "fits": "x" * 6000, "none": None, "empty": ""})
    assert tracking.client.get_run(run_id).data.params == {
        "long": "ü" * 6000,
        "fits": "x" * 6000,
        "none": "None",
        "empty": "",
    }


def test_tags_are_set_in_one_request(tracking, run_id, batches):
    set_tags(tracking.client, run_id, {"a": 1, "b": True, "c": "ü"})
    assert [len(batch) for batch in batches] == [3]
    assert {"a": "1", "b": "True", "c": "ü"}.items() <= tracking.client.get_run(run_id).data.tags.items()


@pytest.mark.parametrize(
    "text", ["base.hf:/models/a,b", "hf:a//b", "hf:../up/../(q4) é", "hf:" + "long/" * 99, "openai:a@b/"]
)
def test_whatever_a_judge_is_called_names_a_metric_and_a_tag(tracking, run_id, text):
    """Regression: a comma in a judge's folder ended a run after its last stage."""
    name = mlflow_name(text, ".mean")
    assert name.endswith(".mean")
    tracking.client.log_metric(run_id, name, 1.5)
    set_tags(tracking.client, run_id, {mlflow_name(text): "x"})
    assert tracking.client.get_run(run_id).data.metrics[name] == 1.5


# The registry


def test_champion_is_the_version_with_the_alias_and_nothing_else(tracking):
    name = "touchstone-tracking"
    assert champion_of(tracking, name) is None  # no such model
    tracking.client.create_registered_model(name)
    assert champion_of(tracking, name) is None  # no version, no alias
    versions = [tracking.client.create_model_version(name, source="file:///x").version for _ in range(2)]
    tracking.client.set_registered_model_alias(name, "candidate", versions[1])
    assert champion_of(tracking, name) is None
    tracking.client.set_registered_model_alias(name, "champion", versions[0])
    assert champion_of(tracking, name).version == versions[0]


def test_a_registry_that_fails_is_not_taken_for_an_empty_one(tracking, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    def fail(*_):
        raise MlflowException("away", TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", fail)
    with pytest.raises(MlflowException, match="away"):
        champion_of(tracking, "any")
