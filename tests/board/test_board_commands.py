"""Commands that the board runs: what they tell on the way, what came of them, and that they outlive it."""

import os
import signal
import sys
import time

import pytest

from flows.board import commands
from flows.board.commands import BoardCommand
from flows.board.context import Board
from tasks.errors import RefusedError, StageError, UsageError


@pytest.fixture
def run(tracking, tmp_path, monkeypatch):
    """Begin a script of Python as if it were the command."""
    monkeypatch.setattr(commands, "COMMAND", sys.executable)
    monkeypatch.setattr(commands, "LOOK", 0.02)
    board = Board(tmp_path, tracking, dict(os.environ))
    return lambda script: BoardCommand(board, "-c", script)


def test_command_tells_its_lines_and_its_outcome(run):
    script = """import sys; print('one', file=sys.stderr); print('tw\\u00f6 ...', file=sys.stderr)
print('{"status": "completed", "export": 1}')"""
    with run(script) as command:
        assert list(command.lines()) == ["one", "twö ..."]
        assert command.outcome() == {"status": "completed", "export": 1}


@pytest.mark.parametrize(
    ("status", "kind"), [("usage", UsageError), ("refused", RefusedError), ("failed", StageError)]
)
def test_command_that_fails_raises_what_it_told(run, status, kind):
    with (
        run(f"""print('{{"status": "{status}", "error": "why"}}')""") as command,
        pytest.raises(kind, match="why"),
    ):
        command.outcome()


def test_command_that_is_refused_may_tell_more(run):
    with run("""print('{"status": "refused", "error": "why", "rows": 2}')""") as command:
        assert command.outcome()["rows"] == 2


def test_command_that_dies_is_told_as_such(run):
    with run("import os; os.abort()") as command:
        assert list(command.lines()) == []
        with pytest.raises(StageError, match=f"status -{signal.SIGABRT.value} and told nothing"):
            command.outcome()


def test_command_goes_on_when_nobody_looks(run, tmp_path):
    script = "import time; time.sleep(0.3); open('done', 'w').close(); print('x' * 200_000)"
    with run(script) as command:
        pass
    deadline = time.monotonic() + 10
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "done").exists()
    assert command._process.wait(10) == 0
