"""What a person without a terminal to draw on is told while a stage is running."""

import io

import pytest
from rich.console import Console as RichConsole

from flows import console as room


@pytest.fixture
def told(monkeypatch):
    """A console on no terminal, a clock that is set by hand, and what was printed."""
    clock, printed = [0.0], io.StringIO()
    monkeypatch.setattr(room.time, "monotonic", lambda: clock[0])
    console = room.Console()
    console.rich = RichConsole(file=printed, force_terminal=False, width=200)
    return console, clock, printed


def test_the_time_left_follows_the_speed_since_the_stage_began(told):
    console, clock, printed = told
    console.begin("pretrain")
    for seconds, done in ((1, 100), (21, 120), (41, 140)):  # continued from step 100
        clock[0] = seconds
        console.progress("pretrain", done, 200, "steps", "loss 2.000")
    assert printed.getvalue().splitlines() == [
        "  pretrain: 120/200 steps loss 2.000, about 0:01:20 left",
        "  pretrain: 140/200 steps loss 2.000, about 0:01:00 left",
    ]


def test_lines_do_not_come_faster_than_one_can_read(told):
    console, clock, printed = told
    console.begin("pretrain")
    for second in range(1, 31):
        clock[0] = second
        console.progress("pretrain", second, 30, "steps", "")
    assert len(printed.getvalue().splitlines()) == 1


def test_without_a_total_there_is_no_time_left(told):
    console, clock, printed = told
    console.begin("download")
    for second in (20, 40):
        clock[0] = second
        console.progress("download", second, 0, "bytes", "")
    assert "left" not in printed.getvalue()
