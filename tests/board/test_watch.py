"""The tab Watch: a run that the board started, or anyone else, to its end; stopped and continued."""

import re
from dataclasses import replace

import gradio as gr
import pytest
from playwright.sync_api import expect

from flows.board import watch
from flows.board.errors import StoreAwayError
from flows.board.run_state import Line, StageState
from flows.board.watch import NEWEST, PARTS, _curves, _look, _of_newest_training, _stage
from flows.dispatch.progress_tag import ToldProgress
from tasks.errors import StageError, UsageError
from tests.board.conftest import DESKTOP, PHONE, board_of, width_of
from tests.board.test_start import choose, open_section

STARTS = 120_000  # milliseconds
ENDS = 240_000


def line(run, split, quantity="loss"):
    return Line(run, "pretrain", quantity, split, [[1, 3.0, 3.0, 3.0], [2, 2.0, 2.0, 2.0]], 2)


def test_curves_of_one_run_are_training_and_validation():
    drawn = _curves([line("a", "train"), line("a", "validation")], "pretrain: loss")
    assert drawn.count('class="line"') == 2
    assert "training" in drawn


def test_curves_of_several_runs_are_validation():
    lines = [line(run, split) for run in ("a <b>", "c") for split in ("train", "validation")]
    drawn = _curves(lines, "pretrain: loss")
    assert drawn.count('class="line"') == 2
    assert "a &lt;b&gt;" in drawn
    assert "Loss, validation" in drawn


def test_curve_shown_first_is_the_loss_of_the_last_training():
    lines = [line("a", "train"), replace(line("a", "train"), stage="dpo")]
    assert _of_newest_training([*lines, replace(lines[1], quantity="reward margin")]) == "dpo: loss"
    assert _of_newest_training([]) is None


def test_curves_that_are_not_there_say_so():
    assert "No curve yet" in _curves([], None)


def test_stage_is_shown_as_text():
    progress = ToldProgress(1, 4, "1/4 steps", "<img src=x onerror=alert(1)>", "", 2.0, 6.0, 0.0)
    drawn = _stage(StageState("pretrain <b>", "running", "f" * 32, 2.0, progress, "<script>"))
    assert all(tag not in drawn for tag in ("<img", "<script", "pretrain <b>"))
    assert 'value="0.2500"' in drawn
    assert "0:06 left" in drawn


def test_store_that_is_away_is_told_in_the_place_of_stages(board_of_nothing, monkeypatch):
    def away(*_):
        raise StageError("the MLflow server does not answer any more")

    monkeypatch.setattr(watch, "_now", away)
    _, *drawn = _look(board_of_nothing, {"stages": "before"}, NEWEST, [], NEWEST)
    assert "the MLflow server does not answer any more" in drawn.pop(PARTS.index("stages"))
    assert drawn == [gr.skip()] * (len(PARTS) - 1)


@pytest.fixture
def ended(board_of_nothing):
    """A run that was interrupted."""
    client, experiment = board_of_nothing.tracking.client, board_of_nothing.tracking.experiment_id
    tags = {"touchstone.kind": "pipeline", "touchstone.profile": "tiny", "mlflow.runName": "tiny"}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    client.set_terminated(run_id, "KILLED")
    return run_id


def test_store_that_is_away_leaves_what_is_shown(board_of_nothing, monkeypatch):
    """The top of the page tells it."""

    def away(*_):
        raise StoreAwayError("away")

    monkeypatch.setattr(watch, "_now", away)
    seen, *drawn = _look(board_of_nothing, {"stages": "before", "asked": "before"}, NEWEST, [], NEWEST)
    assert seen == {"stages": "before", "asked": None}
    assert drawn == [gr.skip()] * len(PARTS)


def test_run_that_was_removed_is_chosen_no_longer(board_of_nothing, ended):
    gone = "f" * 32
    with pytest.warns(UserWarning, match="Run ffffffff was removed"):
        seen, *drawn = _look(board_of_nothing, {}, gone, [gone, ended], "pretrain: loss")
    shown = dict(zip(PARTS, drawn, strict=True))
    assert seen["chosen"] == ended
    assert [shown[name]["value"] for name in ("run", "others", "quantity")] == [NEWEST, [ended], NEWEST]
    _, *drawn = _look(board_of_nothing, {}, NEWEST, [ended], NEWEST)  # what is there is left alone
    assert not any("value" in drawn[PARTS.index(name)] for name in ("run", "others", "quantity"))


def test_nothing_that_was_run_is_told(board_of_nothing):
    _, *drawn = _look(board_of_nothing, {}, NEWEST, [], NEWEST)
    assert drawn[PARTS.index("stages")] == "<p>Nothing was run yet.</p>"


def test_what_is_shown_already_is_not_looked_for_again(board_of_nothing, ended, monkeypatch):
    seen, *drawn = _look(board_of_nothing, {}, NEWEST, [], NEWEST)
    assert "Interrupted, " in drawn[PARTS.index("stages")]
    assert drawn[PARTS.index("resume")] == gr.update(interactive=True)
    monkeypatch.setattr(watch, "stage_states", None)
    again, *drawn = _look(board_of_nothing, seen, NEWEST, [], NEWEST)
    assert again == seen
    assert drawn == [gr.skip()] * len(PARTS)


def test_run_that_is_shown_is_stopped_and_no_newer_one(board_of_nothing, ended):
    seen, *_ = _look(board_of_nothing, {}, NEWEST, [], NEWEST)
    tags = {"touchstone.kind": "pipeline", "touchstone.profile": "new", "mlflow.runName": "new"}
    board_of_nothing.tracking.client.create_run(board_of_nothing.tracking.experiment_id, tags=tags)
    with pytest.raises(UsageError, match=rf"run {ended[:8]} \(tiny\) is not running"):
        watch._stop(board_of_nothing, seen)


# In the browser


def stages_of(page):
    return page.locator(".prose.stages").inner_text()


def state(page, name):
    """The line that tells a run's state."""
    return page.locator(".prose.stages").get_by_text(re.compile(f"^{name}, "))


def start(page, **settings):
    choose(page, "tiny.yaml")
    open_section(page, "pretrain")
    for name, value in settings.items():
        page.get_by_label(name, exact=True).fill(value)
        page.get_by_text(f"--set pretrain.{name}={value}").wait_for()
    page.get_by_role("button", name="Start here").click()
    page.get_by_text("has begun in process").wait_for(timeout=STARTS)
    page.get_by_role("tab", name="Watch").click()


@pytest.mark.slow
def test_run_is_started_and_watched_to_its_end(page, open_page, board_server):
    start(page)
    page.close()  # the run goes on
    again = open_page(board_server.address)
    again.get_by_role("tab", name="Watch").click()
    state(again, "Finished").wait_for(timeout=ENDS)
    told = stages_of(again)
    assert "waiting" not in told
    assert told.index("pretrain") < told.index("finetune") < told.index("report")
    again.locator(".curves path.line").first.wait_for()
    assert "report" in again.get_by_label("Messages, newest first").input_value()
    assert "response:" in again.get_by_label("What it writes, newest first").input_value()
    again.set_viewport_size(PHONE)
    again.wait_for_timeout(500)
    assert width_of(again) <= PHONE["width"]
    assert again.foreign == []


@pytest.mark.slow
def test_run_is_stopped_and_continued_on_another_board(page, open_page, board_server):
    start(page, steps="20000")
    page.locator(".stages progress").first.wait_for(timeout=STARTS)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("it can be continued").wait_for(timeout=STARTS)
    state(page, "Interrupted").wait_for()
    with board_of(board_server.workplace) as other:
        there = open_page(other.address, DESKTOP)
        there.get_by_role("tab", name="Watch").click()
        state(there, "Interrupted").wait_for()
        there.get_by_role("button", name="Continue").click()
        there.get_by_text(" continues tiny").wait_for(timeout=STARTS)
    state(page, "Running").wait_for()
    messages = page.get_by_label("Messages, newest first")
    expect(messages).to_have_value(re.compile("pretrain: resumes at step"), timeout=STARTS)
    page.get_by_role("button", name="Stop").click()
    state(page, "Interrupted").wait_for(timeout=STARTS)
