"""Labelling in a terminal: a key a label, each saved at once, blind, and the terminal is as it was."""

import os
import pty
import sys
import termios
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from tasks.errors import UsageError
from tasks.judge.labels.terminal import keyboard, label_rows
from tasks.judge.protocol.responses import ResponseRow, Turn

HOSTILE = "\x1b[2J[bold]x[/bold]\u202e"


def row_of(index, response="Mine.", **changes):
    return ResponseRow(
        index, f"Question {index}?", f"Input {index}", f"Reference {index}", "", response, **changes
    )


@pytest.fixture
def ask():
    """Label rows with these keys; gives what was saved, in order, and what was shown."""

    def run(keys, rows=3, given=None, made=row_of):
        saved, told, left = [], StringIO(), iter(keys)
        console = Console(file=told, width=100)

        def key():
            pressed = next(left)
            if isinstance(pressed, type):
                raise pressed
            return pressed

        def save(row, label):
            saved.append((row, label))

        run.saved = saved
        run.count = label_rows([made(index) for index in range(rows)], given or {}, save, key, console)
        return saved, told.getvalue()

    return run


def test_each_key_is_a_label_saved_before_the_next_row_is_shown(ask):
    assert ask(["5", "0", "3"])[0] == [(0, 5), (1, 0), (2, 3)]
    assert ask.count == 3


def test_a_row_is_skipped_gone_back_to_or_left(ask):
    assert ask(["s", "4", "b", "2", "q"])[0] == [(1, 4), (1, 2)]
    assert ask(["b", "1", "q"])[0] == [(0, 1)]  # nothing is before the first


def test_keys_that_mean_nothing_are_not_heeded(ask):
    assert ask(["x", "6", "9", "²", "\x1b", "[", "A", "S", "1", "Q"])[0] == [(1, 1)]


@pytest.mark.parametrize("end", ["q", "", "\x04"])
def test_the_end_of_the_input_is_the_end(ask, end):
    assert ask(["1", end])[0] == [(0, 1)]


def test_an_interruption_loses_no_label(ask):
    with pytest.raises(KeyboardInterrupt):
        ask(["1", "2", KeyboardInterrupt])
    assert ask.saved == [(0, 1), (1, 2)]


def test_only_rows_without_a_label_are_asked_about(ask):
    saved, told = ask(["4"], given={0: 1, 1: 2})
    assert saved == [(2, 4)]
    assert "Question 0?" not in told


def test_everything_a_label_is_about_is_shown_and_cannot_act(ask):
    def hostile(index):
        return row_of(index, HOSTILE, before=(Turn("system", f"Be brief. {HOSTILE}"),))

    told = " ".join(ask(["q"], made=hostile)[1].split())
    for part in (
        "Be brief.",
        "Question 0?",
        "Input 0",
        "Reference 0",
        "[bold]x[/bold]",
        "\\x1b[2J",
        "\\u202e",
    ):
        assert part in told
    assert "\x1b[2J" not in told
    assert "\u202e" not in told
    assert "5 says what the reference says" in told
    assert "0 to 5 label · s skip · b back · q quit" in told


def test_going_back_shows_the_label(ask):
    assert "· now 4" in ask(["4", "b", "q"])[1]


def test_key_is_read_without_return_and_terminal_is_restored(monkeypatch):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs) as file:
        monkeypatch.setattr(sys, "stdin", file)
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
        with keyboard() as keys:
            os.write(ours, b"4q")
            pressed = keys(), keys()
            during = termios.tcgetattr(theirs)
        after = termios.tcgetattr(theirs)
        with pytest.raises(KeyboardInterrupt), keyboard():
            raise KeyboardInterrupt
        assert (pressed, after, termios.tcgetattr(theirs)) == (("4", "q"), before, before)
        assert during != before


def test_without_a_terminal_the_other_ways_are_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO("4\n"))
    told = r"--to csv --output labels.csv, and --from .* or --to mlflow"
    with pytest.raises(UsageError, match=told), keyboard():
        pass
