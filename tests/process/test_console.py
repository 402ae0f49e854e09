"""What a person at the terminal is told while a stage is running."""

import io
import re

import pytest
from rich.console import Console as RichConsole

from flows.process.console import Console


@pytest.fixture
def told():
    """A console on no terminal, a clock that is set by hand, and what was printed."""
    clock, printed = [0.0], io.StringIO()
    console = Console(RichConsole(file=printed, force_terminal=False, width=200), lambda: clock[0])
    yield console, clock, printed
    console.close()


@pytest.fixture
def drawn():
    """A console on a terminal of a width, a clock, and what the terminal shows at the end, line by line."""
    opened = []

    def open_console(width):
        clock, printed = [0.0], io.StringIO()
        rich = RichConsole(
            width=width, force_terminal=True, file=printed, highlight=False, soft_wrap=True, _environ={}
        )
        console = Console(rich, lambda: clock[0])
        opened.append(console)
        return console, clock, lambda: shown(printed.getvalue(), width)

    yield open_console
    for console in opened:
        console.close()


def shown(written, width):
    """What a terminal of this width shows of it: the control sequences that rich writes, obeyed."""
    lines, row, column = [""], 0, 0
    for sequence, character in re.findall(r"\x1b\[([?0-9;]*[A-Za-z])|(.|\n)", written):
        if sequence:
            number = int(sequence[:-1]) if sequence[:-1].isdecimal() else 1
            if sequence.endswith("A"):
                row -= number
            elif sequence == "2K":
                lines[row] = ""
            continue
        if character == "\r":
            column = 0
        elif character == "\n" or column == width:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        if character not in "\r\n":
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def train(console, clock):
    console.begin("pretrain")
    for step in range(1, 75):
        clock[0] = 9.0 + step
        console.progress("pretrain", step, 80, "steps", "loss 2.310, 12,345 tokens/s")
        console._shown.refresh()


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (40, "⠹ pretrain  74/80 steps  0:06 left"),
        (60, "⠹ pretrain  74/80 steps  loss 2.310  1:23 gone, 0:06 left"),
        (80, "⠹ pretrain  ━━━━━━━━━━━─  74/80 steps  loss 2.310  1:23 gone, 0:06 left"),
        (
            120,
            "⠹ pretrain                ━━━━━━━━━━━━━━━━━━━━━━━━━───  74/80 steps  "
            "loss 2.310, 12,345 tokens/s  1:23 gone, 0:06 left",
        ),
    ],
)
def test_a_terminal_shows_one_line_that_fits(drawn, width, line):
    console, clock, screen = drawn(width)
    train(console, clock)
    assert screen() == [line]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_stale_line_is_gone_once_something_is_said_or_it_ends(drawn, width):
    console, clock, screen = drawn(width)
    train(console, clock)
    console.say("resumes at 74")
    console.end("pretrain", "done", 83.0, "green")
    kept = "resumes at 74 pretrain done 83.0 s loss 2.310, 12,345 tokens/s"  # broken where the lines end
    assert "".join("".join(screen()).split()) == kept.replace(" ", "")


@pytest.mark.parametrize(
    ("width", "line"),
    [(40, "  generate fine-tuned  cached  0.0 s"), (80, "  generate fine-tuned    cached       0.0 s")],
)
def test_an_end_does_not_break_within_a_number(drawn, width, line):
    console, _, screen = drawn(width)
    console.end("generate fine-tuned", "cached", 0.04, "dim")
    assert screen() == [line]


def test_a_wait_is_shown_at_once_until_a_stage_shows(drawn):
    console, clock, screen = drawn(80)
    console.wait("starting Prefect")
    assert screen() == ["⠋ starting Prefect        0:00 gone"]
    clock[0] = 5.25
    console._shown.refresh()
    assert screen() == ["⠙ starting Prefect        0:05 gone"]
    console.begin("download")
    assert screen() == ["⠋ download                0:00 gone"]


def test_the_end_of_a_command_leaves_no_line_and_a_cursor(drawn):
    console, _, screen = drawn(80)
    console.wait("starting Prefect")
    console.close()
    console.close()
    assert screen() == []
    written = console.rich.file.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_without_a_terminal_a_wait_is_one_line_at_once(told):
    console, clock, printed = told
    console.wait("starting Prefect")
    clock[0] = 9.0
    console.tick()
    assert printed.getvalue().splitlines() == ["  starting Prefect ..."]


def test_lines_do_not_come_faster_than_one_can_read(told):
    console, clock, printed = told
    console.begin("pretrain")
    for second in range(1, 31):
        clock[0] = second
        console.progress("pretrain", second, 40, "steps", "loss 2.000")
    assert printed.getvalue().splitlines() == [
        "  pretrain: 10/40 steps, loss 2.000, 0:10 gone, 0:30 left",
        "  pretrain: 20/40 steps, loss 2.000, 0:20 gone, 0:20 left",
        "  pretrain: 30/40 steps, loss 2.000, 0:30 gone, 0:10 left",
    ]


def test_a_stage_that_reports_nothing_still_shows_what_it_does(told):
    console, clock, printed = told
    console.begin("finetune")
    console.phase("finetune", "check 3 of 12: causality")
    for second in range(25):
        clock[0] = second
        console.tick()
    assert printed.getvalue().splitlines() == [
        "  finetune: check 3 of 12: causality, 0:10 gone",
        "  finetune: check 3 of 12: causality, 0:20 gone",
    ]


def test_it_is_told_by_the_console_itself(monkeypatch):
    """Nobody calls `tick` but the console's own thread."""
    monkeypatch.setattr("flows.process.console.TICK", 0.001)
    printed, clock = io.StringIO(), [0.0]
    console = Console(RichConsole(file=printed, force_terminal=False), lambda: clock[0])
    console.begin("finetune")
    clock[0] = 10.0
    for _ in range(1000):
        if printed.getvalue():
            break
        console._shown._stopped.wait(0.005)
    console.close()
    assert printed.getvalue() == "  finetune: 0:10 gone\n"


def test_lines_of_a_long_stage_come_every_minute(told):
    console, clock, printed = told
    console.begin("pretrain")
    for second in range(2 * 3600):
        clock[0] = second
        console.tick()
    lines = printed.getvalue().splitlines()
    assert lines[:2] == ["  pretrain: 0:10 gone", "  pretrain: 0:20 gone"]
    assert lines[-2:] == ["  pretrain: 1:58:42 gone", "  pretrain: 1:59:42 gone"]
    assert len(lines) < 300


def test_the_end_tells_what_was_counted_last_and_no_phase(told):
    console, _, printed = told
    console.begin("pretrain")
    console.progress("pretrain", 80, 80, "steps", "loss 2.000")
    console.phase("pretrain", "hashing the output")
    console.end("pretrain", "done", 12.0, "green")
    assert printed.getvalue() == "  pretrain               done        12.0 s  loss 2.000\n"
