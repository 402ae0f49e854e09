"""A server of MLflow that goes away and comes back: what the board tells, and what it does not begin."""

import os
from dataclasses import replace

import gradio as gr
import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from flows.board import refresh
from flows.board.commands import BoardCommand
from flows.board.context import IMPATIENT, Board
from flows.board.errors import StoreAwayError, explained, handler, store_away
from flows.board.launch import start_run
from flows.board.models import Listed
from flows.board.refresh import choices, watch_store, when_shown
from flows.board.run_state import newest_runs, stage_states
from flows.board.tables import run_rows
from flows.dispatch.history import past_runs
from flows.exporting.made import made_exports
from tasks.errors import UnreachableError, UsageError
from tasks.record.tracking import open_tracking

NOBODY = "http://user:hidden@127.0.0.1:9"
RETRIED = "API request to http://x failed with exception Max retries exceeded"


@pytest.fixture
def away(tracking):
    """The store is a server that does not answer."""
    mlflow.set_tracking_uri(NOBODY)
    yield
    mlflow.set_tracking_uri(tracking.uri)


def test_store_that_is_away_is_one_message(away):
    told = {str(explained(error)) for error in (MlflowException(RETRIED), cannot_open())}
    assert told == {store_away()}
    assert "127.0.0.1:9 does not answer" in store_away()
    assert "hidden" not in store_away()


def cannot_open():
    """What is raised where the store is opened anew."""
    try:
        open_tracking(uri="http://127.0.0.1:9")
    except UsageError as error:
        return error


def test_store_that_answers_again_is_told_by_the_error(tracking):
    assert store_away() == ""
    assert isinstance(explained(MlflowException(RETRIED)), UnreachableError)
    assert not isinstance(explained(MlflowException(RETRIED)), StoreAwayError)


def test_what_was_removed_is_no_defect(tracking, caplog):
    def act():
        raise MlflowException("Run x not found\nat line 5", RESOURCE_DOES_NOT_EXIST)

    with pytest.raises(gr.Error) as told:
        handler(act)()
    assert told.value.message == "Run x not found. It was removed: reload the page"
    assert caplog.records == []


def test_nothing_is_begun_while_the_store_is_away(away, board_of_nothing, monkeypatch):
    mlflow.set_tracking_uri(NOBODY)
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(StoreAwayError):
        BoardCommand(board_of_nothing, "compare")
    with pytest.raises(StoreAwayError):
        start_run(board_of_nothing, "quickstart", [])


def test_board_asks_briefly_and_its_commands_do_not(tracking, tmp_path, monkeypatch):
    for name in IMPATIENT:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    board = Board.here()
    assert {name: os.environ[name] for name in IMPATIENT} == IMPATIENT
    assert [board.environment[name] for name in IMPATIENT] == ["7", "7"]


# A store that goes away in the middle of a look


@pytest.fixture
def recorded(board_of_nothing):
    """The store of a run and an export, whose files only a server has."""
    client = board_of_nothing.tracking.client
    elsewhere = client.create_experiment("elsewhere", "mlflow-artifacts:/1")
    tracking = replace(board_of_nothing.tracking, experiment_id=elsewhere)
    tags = {"touchstone.profile": "tiny", "touchstone.kind": "pipeline", "touchstone.report": "gone"}
    client.create_run(elsewhere, tags=tags)
    export = {"touchstone.stage": "export", "touchstone.key": "k"}
    made = client.create_run(elsewhere, tags=export).info.run_id
    client.set_terminated(made)
    return tracking


@pytest.mark.parametrize(
    "look",
    [
        lambda tracking: list(past_runs(tracking)),
        run_rows,
        lambda tracking: list(made_exports(tracking)),
        lambda tracking: [stage_states(tracking, run) for run in newest_runs(tracking)],
    ],
    ids=["runs", "table of runs", "exports", "stages"],
)
def test_what_a_store_does_not_answer_is_not_taken_for_absent(recorded, look, monkeypatch):
    def fail(*_, **__):
        raise MlflowException(RETRIED)

    monkeypatch.setattr(mlflow.artifacts, "load_dict", fail)
    with pytest.raises(UnreachableError):
        look(recorded)


# Tabs


@pytest.fixture
def filled():
    """The function that fills a tab with models, and what it finds."""
    found = [Listed("a", "a"), Listed("b", "b")]
    with gr.Blocks() as page:
        watch_store()
        with gr.Tab("Models"):
            when_shown(lambda: choices(found), gr.Dropdown(["a", "b"]))
    (fill,) = (each.fn for each in page.fns.values() if each.fn.__name__ == "fill")
    return fill, found


def test_tab_stays_as_it_is_while_the_store_is_away(away, filled):
    fill, _ = filled
    notice, update = fill("a")
    assert "127.0.0.1:9 does not answer" in notice
    assert update == gr.skip()


def test_tab_is_filled_while_the_store_answers(tracking, filled):
    fill, _ = filled
    assert fill("a") == ["", gr.update(choices=[("a", "a"), ("b", "b")])]


def test_store_that_goes_away_during_a_look_is_told_once(tracking, monkeypatch):
    notices = iter(["", "away"])
    monkeypatch.setattr(refresh, "store_away", lambda: next(notices))

    def look():
        raise MlflowException(RETRIED)

    with gr.Blocks() as page:
        watch_store()
        with gr.Tab("Models"):
            when_shown(look, gr.Dropdown([]))
    (fill,) = (each.fn for each in page.fns.values() if each.fn.__name__ == "fill")
    notice, update = fill(None)
    assert ">away<" in notice
    assert update == gr.skip()


def test_choice_that_is_gone_is_chosen_no_longer(tracking, filled):
    fill, found = filled
    del found[0]
    assert fill("a")[1]["value"] is None
    for kept in ("b", None):  # None: a person may choose while the look is on its way
        assert "value" not in fill(kept)[1]
