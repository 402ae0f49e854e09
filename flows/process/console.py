"""What a person at the terminal sees: one line a stage, and a bar while one is running.

Progress goes to standard error; standard output belongs to results.
"""

import atexit
import sys
import threading
import time
from typing import Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderResult
from rich.live import Live

from flows.process.progress import FRAMES, TICK, Clock, StageProgress, Ticker, lines_apart
from flows.process.streams import as_json_can_be_written
from tasks.machine.json_files import as_line
from tasks.machine.secrets import redacted


class Console:
    """Shows stages as they start, go on and end."""

    def __init__(self, rich: RichConsole | None = None, clock: Clock = time.monotonic) -> None:
        self.rich = rich or RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._clock = clock
        self._lock = threading.RLock()
        self._stage: StageProgress | None = None
        self._shown: Live | Ticker | None = None
        self._printed = clock()
        atexit.register(self.close)  # a terminal would be left without its cursor

    def say(self, text: str, style: str | None = None) -> None:
        self.rich.print(redacted(text), style=style, markup=False)

    def begin(self, label: str) -> None:
        """A stage has started."""
        self._show(StageProgress(label, self._clock))

    def wait(self, for_what: str) -> None:
        """Something without a stage takes its time; it is shown until a stage shows, or `close`."""
        if not self.rich.is_terminal:
            self.say(f"  {for_what} ...")
        self._show(StageProgress(for_what, self._clock))

    def _show(self, stage: StageProgress) -> None:
        self.close()
        self._stage, self._printed = stage, self._clock()
        if self.rich.is_terminal:
            self._shown = Live(
                _Line(stage),
                console=self.rich,
                transient=True,
                refresh_per_second=FRAMES,
                redirect_stdout=False,
            )
            self._shown.start(refresh=True)
        else:
            self._shown = Ticker(self.tick, TICK)

    def progress(self, label: str, done: float, total: float, unit: str, note: str) -> None:
        """A stage has come this far, as `tasks.record.stage.Progress` says."""
        self._of(label).report(done, total, unit, note)
        self.tick()

    def phase(self, label: str, what: str) -> None:
        """A stage does this now."""
        self._of(label).phase(what)
        self.tick()

    def _of(self, label: str) -> StageProgress:
        """What is known of a stage, also of one that this console does not show."""
        if self._stage is None or self._stage.label != label:
            self._stage = StageProgress(label, self._clock)
        return self._stage

    def tick(self) -> None:
        """Without a terminal: tell how far the stage is, if nothing was told for a while."""
        with self._lock:
            if self._stage is None or isinstance(self._shown, Live):
                return
            if self._clock() - self._printed >= lines_apart(self._stage.gone):
                self._printed = self._clock()
                self.say(f"  {self._stage.text()}")

    def end(self, label: str, outcome: str, seconds: float, style: str) -> None:
        """A stage has ended, well or not."""
        stage = self._stage
        self.close()
        line = f"  {label:<22} {outcome:<8} {seconds:7.1f} s"
        if self.rich.is_terminal and cell_len(line) > self.rich.width:
            line = f"  {label}  {outcome}  {seconds:.1f} s"
        note = f"  {stage.note}" if stage and stage.label == label and stage.note else ""
        self.rich.print(line + note, style=style, markup=False)

    def close(self) -> None:
        """Show nothing any more of what goes on."""
        shown, self._shown, self._stage = self._shown, None, None
        if shown is not None:
            shown.stop()


class _Line:
    """A stage's line, as wide as the terminal is at this moment."""

    def __init__(self, stage: StageProgress) -> None:
        self.stage = stage

    def __rich_console__(self, _console: RichConsole, options: ConsoleOptions) -> RenderResult:
        yield self.stage.line(options.max_width, options.ascii_only)


console = Console()


def print_json(value: dict[str, Any]) -> None:
    """One object on standard output, as one line of JSON."""
    print_result(as_line(value).rstrip("\n"))


def print_result(text: str) -> None:
    """Standard output: results and nothing else. What it cannot show is escaped as in JSON."""
    sys.stdout.write(as_json_can_be_written(text) + "\n")
    sys.stdout.flush()
