"""How far a stage is, in one line: what is done, how long that took, how long it will take yet.

The line on a terminal, the plain one where there is none, and the one in Prefect are of one `StageProgress`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.cells import cell_len
from rich.text import Text

Clock = Callable[[], float]

RECENT = 60.0  # seconds that the speed is taken over, at least
SHARE = 0.25  # of a stage's time, where that is more: evaluations then fall into it as often as they come
STEPS = 4  # of slow stages: so many reports, however long they took
APART = 0.25  # seconds between two points that are kept

LABEL_WIDTH, NOTE_WIDTH, SHORTEST_NOTE = 22, 60, 8
BARS = (28, 12)  # cells
TICK = 1.0  # seconds between two looks at whether a line is due
SPINNER, SPINNER_ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
FRAMES = 4  # a second


class Speed:
    """How fast something goes, by its recent reports.

    The points that are kept reach back `RECENT` seconds, or a `SHARE` of the whole time, or over `STEPS`
    reports, whichever is more. What was slow in the beginning, or done before this attempt, does not count.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()  # when, and how much was done
        self._last: tuple[float, float] | None = None
        self._first = 0.0

    def add(self, now: float, done: float) -> None:
        """So much is done now."""
        if self._last is None:
            self._first = now
        self._last = (now, done)
        if self._points and now - self._points[-1][0] < APART:
            return
        self._points.append(self._last)
        oldest = now - max(RECENT, SHARE * (now - self._first))
        while len(self._points) > STEPS + 1 and self._points[1][0] <= oldest:
            self._points.popleft()

    def seconds_for(self, rest: float, now: float) -> float | None:
        """How long the rest takes from now on; None while nothing is known of the speed.

        Between two reports it counts down, until the next one is overdue.
        """
        if self._last is None:
            return None
        (since, before), (until, done) = self._points[0], self._last
        if until <= since or done <= before:
            return None
        a_report = (until - since) / max(1, len(self._points) - 1)
        return max(0.0, rest * (until - since) / (done - before) - min(now - until, a_report))


class StageProgress:
    """What a stage has told of itself, and the lines that are made of it."""

    def __init__(self, label: str, clock: Clock = time.monotonic) -> None:
        self.label = label
        self._clock = clock
        self._began = clock()
        self._speed = Speed()
        self.done = self.total = 0.0
        self.unit = ""
        self.note = ""
        """What came with the last count, and is worth keeping once the stage is done."""
        self.doing = ""
        """What it does since the last count, where that is not more of the same."""

    def report(self, done: float, total: float, unit: str, note: str) -> None:
        """The stage has come this far, as `tasks.record.stage.Progress` says."""
        if (total, unit) != (self.total, self.unit) or done < self.done:
            self._speed = Speed()
        self._speed.add(self._clock(), done)
        self.done, self.total, self.unit, self.note, self.doing = done, total, unit, note, ""

    def phase(self, what: str) -> None:
        """The stage does something now that is not counted: evaluating, loading, a check."""
        self.doing = what

    @property
    def gone(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds that it will take yet, at the speed of late; None where that cannot be told."""
        if self.done >= self.total:
            return None
        return self._speed.seconds_for(self.total - self.done, self._clock())

    @property
    def count(self) -> str:
        """`74/80 steps`; nothing where there is nothing to count."""
        return counted(self.done, self.total, self.unit) if self.unit else ""

    def text(self) -> str:
        """Without a terminal: `pretrain: 74/80 steps, loss 2.31, 1:23 gone, 0:06 left`."""
        parts = (self.count, self.doing or self.note, times(self.gone, self.left))
        return f"{self.label}: {', '.join(filter(None, parts))}"

    def line(self, width: int, ascii_only: bool = False) -> Text:
        """What a terminal of `width` cells shows: never more than one line of it.

        What does not fit goes in this order: most of the bar, the room after the label, all of the note but
        its first part, the bar, the note, the time gone, the count; at last the label is cut. Where nothing
        is counted the note says what is done: it is cut as far as must be, and goes last.
        """
        spinner = SPINNER_ASCII if ascii_only else SPINNER
        frame = spinner[int(self.gone * FRAMES) % len(spinner)]
        for parts in self._layouts(width - 3, ascii_only):  # the frame, a space, and the last column
            line = Text.assemble((frame, "cyan"), " ", Text("  ").join(part for part in parts if part))
            if line.cell_len < width:
                return line
        line.truncate(max(1, width - 1), overflow="ellipsis")
        return line

    def _layouts(self, room: int, ascii_only: bool) -> Iterator[list[Text]]:
        """From the widest to the narrowest, for a line of so many cells."""
        label, padded = Text(self.label), Text(f"{self.label:<{LABEL_WIDTH}}")
        count = Text(self.count)
        note = Text(self.doing or self.note, "dim")
        note.truncate(NOTE_WIDTH, overflow="ellipsis")
        first = Text(note.plain.split(", ")[0], "dim")
        first.truncate(NOTE_WIDTH, overflow="ellipsis")
        wide, narrow = (self._bar(cells, ascii_only) for cells in BARS)
        both, short = Text(times(self.gone, self.left)), Text(times(self.gone, self.left, short=True))
        yield [padded, wide, count, note, both]
        yield [padded, narrow, count, note, both]
        yield [label, narrow, count, note, both]
        yield [label, narrow, count, first, both]
        yield [label, count, first, both]
        if not count and (cells := room - cell_len(f"{label}    {both}")) >= SHORTEST_NOTE:
            cut = note.copy()
            cut.truncate(cells, overflow="ellipsis")
            yield [label, cut, both]
        yield [label, count, both]
        yield [label, count, short]
        yield [label, short]

    def _bar(self, cells: int, ascii_only: bool) -> Text:
        """Empty where there is no total."""
        if not self.total:
            return Text()
        full = int(cells * min(1.0, self.done / self.total))
        done, rest = "=-" if ascii_only else "━─"
        return Text.assemble((done * full, "green"), (rest * (cells - full), "dim"))


class Ticker:
    """Calls something every so many seconds, in a thread of its own, until it is stopped."""

    def __init__(self, tick: Callable[[], None], every: float) -> None:
        self._tick, self._every = tick, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self._tick()

    def stop(self) -> None:
        """Return once it is called no more."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()


def lines_apart(gone: float) -> float:
    """Seconds between two lines that stand one below the other: ten at first, a minute after an hour."""
    return min(60.0, max(10.0, gone / 60))


def times(gone: float, left: float | None, short: bool = False) -> str:
    """`1:23 gone, 0:06 left`; the short form has one of them, what is left if that is known."""
    if left is None:
        return f"{clock_time(gone)} gone"
    return f"{clock_time(left)} left" if short else f"{clock_time(gone)} gone, {clock_time(left)} left"


def clock_time(seconds: float) -> str:
    """`0:06`, `1:23`, `1:02:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def counted(done: float, total: float, unit: str) -> str:
    """`74/80 steps`, `1.2/10.0 MB`; without a total, what is done."""
    size, digits = 1.0, 0
    if unit == "bytes":
        for larger, name in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
            if max(done, total) >= larger:
                size, digits, unit = larger, 1, name
    numbers = (done, total) if total else (done,)
    return f"{'/'.join(f'{number / size:,.{digits}f}' for number in numbers)} {unit}"
