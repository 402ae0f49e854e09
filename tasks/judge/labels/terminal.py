"""Labelling in a terminal: a row at a time, a key a label."""

import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from tasks.errors import UsageError
from tasks.judge.labels.queue import LabelQueue, Save
from tasks.judge.labels.scale import ANCHORS, LABELS
from tasks.judge.protocol.responses import ResponseRow
from tasks.show.text import visible

SKIP, BACK, QUIT = "s", "b", "q"
KEYS = "0 to 5 label · s skip · b back · q quit"
END = "\x04"  # Ctrl-D

Keys = Callable[[], str]


def label_rows(
    rows: Sequence[ResponseRow], given: Mapping[int, int], save: Save, keys: Keys, console: Console
) -> int:
    """Ask about each row that has no label yet; returns how many labels were given.

    `given` are the person's labels so far, which are only seen by going back. Every label is saved before the
    next row is shown.
    """
    queue, count = LabelQueue(rows, dict(given), save), 0
    while row := queue.row:
        _show(row, queue.place, len(rows), queue.present, console)
        key = _known(keys)
        if key == QUIT:
            break
        if key == BACK:
            queue.back()
        elif key == SKIP:
            queue.skip()
        else:
            queue.label(int(key))
            count += 1
    return count


def _known(keys: Keys) -> str:
    """The next key that means something."""
    while True:
        key = keys().lower()
        if key in ("", END):
            return QUIT
        if key in (SKIP, BACK, QUIT) or (key.isdecimal() and key.isascii() and int(key) in LABELS):
            return key


def _show(row: ResponseRow, place: int, count: int, label: int | None, console: Console) -> None:
    """Everything that the label is about; nothing of what a judge gave."""
    console.print(Rule(Text(f"{place + 1} of {count}", "bold"), align="left"))
    for turn in row.before:
        _part(turn.role, turn.content, console)
    _part("instruction", row.instruction, console)
    if row.input.strip():
        _part("input", row.input, console)
    _part("reference", row.reference, console)
    _part("response", row.response or "(nothing)", console)
    for own, meaning in ANCHORS.items():
        mark = "bold" if own == label else "dim"
        console.print(Text(f"  {own}  {meaning}", mark))
    before = "" if label is None else f" · now {label}"
    console.print(Text(KEYS + before, "bold"))


def _part(name: str, text: str, console: Console) -> None:
    console.print(Text(name, "dim"))
    console.print(Padding(Text(visible(text)), (0, 0, 0, 2)), soft_wrap=False)


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Single keys from the terminal, which is as it was afterwards, whatever happens.

    Raises UsageError where standard input, or standard error, which rows are shown on, is none.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "labelling here needs a terminal, for its keys and its rows. Use --to csv --output labels.csv, "
            "and --from labels.csv afterwards, or --to mlflow"
        )
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)  # Ctrl-C stays what it is
        yield lambda: sys.stdin.read(1)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
