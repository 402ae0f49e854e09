"""What a person reads, built once: a document of blocks that every form renders in its own way.

A builder in the room of its subject writes all words; `html.py`, `markdown.py` and `terminal.py` know blocks
and no subject. Strings are plain text: each renderer makes control characters visible and escapes what its
form would act on. A block says how many of its rows each form keeps, and what to say where it has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

Item = TypeVar("Item")

Form = Literal["page", "markdown", "terminal"]
Tone = Literal["", "better", "worse", "open", "muted", "strong"]
"""What a text means for the reader: good, bad, not decided, of less weight, of more weight."""

Hue = Literal["", "slate", "amber", "teal", "violet"]
"""The colour of one of the things that are told apart, such as the models that are compared."""


@dataclass(frozen=True)
class Keep:
    """How many rows of a block each form shows, from the first on; None is all, 0 leaves the block out."""

    page: int | None = None
    markdown: int | None = None
    terminal: int | None = None

    def limit(self, form: Form) -> int | None:
        return {"page": self.page, "markdown": self.markdown, "terminal": self.terminal}[form]


ALL = Keep()
PAGE_ONLY = Keep(markdown=0, terminal=0)
NOT_IN_TERMINAL = Keep(terminal=0)
TERMINAL_ONLY = Keep(page=0, markdown=0)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    tone: Tone = ""
    keep: Keep = ALL


@dataclass(frozen=True)
class Fact:
    """A label with its value; `href` must be an address of the web to become a link."""

    title: str
    value: str
    note: str = ""
    href: str = ""
    is_code: bool = False


@dataclass(frozen=True)
class Facts:
    """Labels and values, one below the other."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[Fact]
    keep: Keep = ALL
    empty: str = ""


@dataclass(frozen=True)
class Bullet:
    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Bullets:
    kind: ClassVar[str] = "bullets"
    items: Sequence[Bullet]
    keep: Keep = ALL
    empty: str = ""


@dataclass(frozen=True)
class Cell:
    """One value of a table; `interval` stands below it or in brackets, `shade` (0 to 1) fills it."""

    text: str
    interval: str = ""
    tone: Tone = ""
    hue: Hue = ""
    shade: float | None = None
    is_code: bool = False


@dataclass(frozen=True)
class Column:
    name: str
    hue: Hue = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names the row. `is_matrix` keeps the columns narrow, on a phone too."""

    kind: ClassVar[str] = "table"
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    empty: str = "nothing to show"
    is_matrix: bool = False
    keep: Keep = ALL


def table_of(
    rows: Sequence[Mapping[str, str | Cell]], *, empty: str = "nothing to show", keep: Keep = ALL
) -> Table:
    """A table of rows of the same columns, whose names are those of the first."""
    columns = [Column(name) for name in rows[0]] if rows else []
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row.values()] for row in rows]
    return Table(columns, cells, empty=empty, keep=keep)


@dataclass(frozen=True)
class Point:
    at: float
    hue: Hue = ""


@dataclass(frozen=True)
class Interval:
    """One row of a plot over 0 to 100: points, the interval around them, and the numbers as text.

    `possible` is the range in which a mean could lie that is not known, `histogram` the counts of rows in
    equal parts of the scale. Without points the value says why there are none. The terminal shows `under` of
    rows with a `possible` range alone.
    """

    name: str
    value: str
    interval: str = ""
    hue: Hue = ""
    points: Sequence[Point] = ()
    low: float | None = None
    high: float | None = None
    possible: tuple[float, float] | None = None
    histogram: Sequence[int] = ()
    remark: str = ""
    under: str = ""


@dataclass(frozen=True)
class Intervals:
    """Intervals one below the other on one scale from 0 to 100; `key` names hues that the rows share."""

    kind: ClassVar[str] = "intervals"
    rows: Sequence[Interval]
    unit: str = ""
    key: Sequence[tuple[str, Hue]] = ()
    is_compact: bool = False
    empty: str = "nothing to show"
    keep: Keep = ALL


@dataclass(frozen=True)
class Bar:
    """A share (0 to 1) of a whole, None where it is not known."""

    name: str
    share: float | None
    value: str
    remark: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bars:
    kind: ClassVar[str] = "bars"
    rows: Sequence[Bar]
    empty: str = "nothing to show"
    keep: Keep = ALL


@dataclass(frozen=True)
class Curve:
    """One line of a chart: points of (x, mean, lowest, highest), each of `measured / len(points)` values.

    Without a name it is not in the key; where it is not joined it is dots alone.
    """

    name: str
    hue: Hue
    points: Sequence[Sequence[float]]
    measured: int
    is_joined: bool = True


@dataclass(frozen=True)
class Chart:
    """Curves over `x`, such as steps; `kept` is the x of the checkpoint that was kept.

    `is_share` draws y from 0 to 100%; else 0 stands on the chart, unless it need not (`from_zero`). Ticks
    that are given, (place, label) in their order, bound their axis; else x is numbers from 0 on.
    """

    kind: ClassVar[str] = "chart"
    title: str
    x: str
    curves: Sequence[Curve]
    kept: float | None = None
    is_share: bool = False
    from_zero: bool = True
    x_ticks: Sequence[tuple[float, str]] = ()
    y_ticks: Sequence[tuple[float, str]] = ()
    empty: str = "nothing was measured"
    keep: Keep = ALL


@dataclass(frozen=True)
class Quote:
    """A text of the data, a model or a judge, with who wrote it; `remarks` are told below it."""

    label: str
    text: str
    hue: Hue = ""
    score: str = ""
    remarks: Sequence[str] = ()
    empty: str = "no text"


@dataclass(frozen=True)
class Excerpt:
    """One example: what was asked, what was answered, and what else is known of it."""

    meta: str
    asked: Sequence[Quote]
    answers: Sequence[Quote] = ()
    facts: Sequence[Fact] = ()
    score: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Excerpts:
    """Examples; where a form keeps only some, the first, or spread from the first to the last.

    A terminal tells remarks beside an answer only `with_remarks`, else in place of one that is empty.
    """

    kind: ClassVar[str] = "excerpts"
    rows: Sequence[Excerpt]
    is_spread: bool = False
    with_remarks: bool = False
    empty: str = "nothing to show"
    keep: Keep = ALL


@dataclass(frozen=True)
class Code:
    """Text to be copied."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""
    keep: Keep = ALL


@dataclass(frozen=True)
class Group:
    """Blocks below a heading of their own; `is_wide` takes the whole width among `Columns`."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence["Block"]
    is_wide: bool = False
    is_boxed: bool = False
    keep: Keep = ALL


@dataclass(frozen=True)
class Columns:
    """Groups or charts side by side where there is room."""

    kind: ClassVar[str] = "columns"
    blocks: Sequence["Block"]
    keep: Keep = ALL


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens; the other forms leave them out unless `keep` says so."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence["Block"]
    is_open: bool = False
    keep: Keep = PAGE_ONLY


Block = Text | Facts | Bullets | Table | Intervals | Bars | Chart | Excerpts | Code | Group | Columns | Fold


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]
    keep: Keep = ALL


@dataclass(frozen=True)
class Badge:
    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Verdict:
    """The document in one line; `number` may be empty where nothing is known. `warning` speaks against it."""

    tone: Literal["better", "worse", "open", "none"]
    sentence: str
    number: str = ""
    detail: str = ""
    more: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Document:
    """All that is read, in the order in which it is read: `alarms` come first."""

    kind: str
    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    badge: Badge | None = None
    alarms: Sequence[str] = ()
    verdict: Verdict | None = None
    notes: Sequence[str] = ()
    facts: Sequence[Fact] = ()
    facts_keep: Keep = ALL


def shown_rows(rows: Sequence[Item], limit: int | None, *, is_spread: bool = False) -> list[Item]:
    """At most `limit` rows: the first, or spread from the first to the last."""
    if limit is None or len(rows) <= limit:
        return list(rows)
    return spread(rows, limit) if is_spread else list(rows[:limit])


def spread(rows: Sequence[Item], count: int) -> list[Item]:
    """At most `count` rows: first, last, and evenly between; the last if it is only one."""
    if len(rows) <= count:
        return list(rows)
    if count == 1:
        return [rows[-1]]
    return [rows[(len(rows) - 1) * index // (count - 1)] for index in range(count)]


def kept_blocks(blocks: Iterable[Block], form: Form) -> list[Block]:
    """The blocks that a form shows."""
    return [block for block in blocks if block.keep.limit(form) != 0]
