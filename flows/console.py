"""What a person at the terminal sees: one line a stage, and a bar while one is running.

Everything goes to standard error; standard output belongs to results.
"""

import sys
import time
from datetime import timedelta

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasks.secrets import redacted

PLAIN_EVERY = 15.0  # seconds between progress lines where there is no terminal to draw a bar on


class Console:
    """Shows stages as they start, go on and end."""

    def __init__(self) -> None:
        self.rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._printed = time.monotonic()
        self._note = ""
        self._first: tuple[float, float] | None = None  # the first progress told of a stage, and when

    def say(self, text: str, style: str | None = None) -> None:
        self.rich.print(redacted(text), style=style, markup=False)

    def begin(self, label: str) -> None:
        """A stage has started."""
        self._note = ""
        self._first = None
        self._printed = time.monotonic()
        if not self.rich.is_terminal:
            return
        self._bar = Progress(
            TextColumn("  {task.description:<22}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[count]}", style="dim"),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.rich,
            transient=True,
        )
        self._task = self._bar.add_task(label, total=None, count="", note="")
        self._bar.start()

    def progress(self, label: str, done: float, total: float, unit: str, note: str) -> None:
        """A stage has come this far; `total` is 0 where it is not known."""
        self._note = note
        if self._first is None:
            self._first = done, time.monotonic()
        count = f"{done:,.0f}/{total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None, count=count, note=note)
        elif time.monotonic() - self._printed > PLAIN_EVERY:
            self._printed = time.monotonic()
            self.say(f"  {label}: {count} {note}{self._left(done, total)}")

    def _left(self, done: float, total: float) -> str:
        """About how long it will take yet, at the speed since it was first heard of."""
        before, since = self._first or (done, 0.0)
        if not total or done <= before:
            return ""
        seconds = (total - done) * (time.monotonic() - since) / (done - before)
        return f", about {timedelta(seconds=round(seconds))} left"

    def end(self, label: str, outcome: str, seconds: float, style: str) -> None:
        """A stage has ended, well or not."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        note = f"  {self._note}" if self._note and outcome != "cached" else ""
        self.rich.print(f"  {label:<22} {outcome:<8} {seconds:7.1f} s{note}", style=style, markup=False)


console = Console()


def print_result(text: str) -> None:
    """Standard output: results and nothing else."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
