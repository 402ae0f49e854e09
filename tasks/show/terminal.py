"""A document in a terminal of any width. Every text is printed as it stands: nothing in it is markup."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text as Line

from tasks.show.document import (
    Bars,
    Block,
    Bullets,
    Cell,
    Chart,
    Code,
    Columns,
    Document,
    Excerpt,
    Excerpts,
    Fact,
    Facts,
    Fold,
    Form,
    Intervals,
    Quote,
    Table,
    Text,
    Verdict,
    kept_blocks,
    shown_rows,
)
from tasks.show.document import Group as Titled
from tasks.show.plots import curve_text, histogram_text, track
from tasks.show.text import one_line, visible

FORM: Form = "terminal"
INDENT = 2
GAP = 2
LABEL = 12  # characters of a column of names, so that one grid below the other lines up
TRACK = 30  # characters from 0 to 100, where there is room
LEAST_TRACK = 10
LEAST_COLUMN = 16  # characters that a column of a table is given at least, where its texts are longer
SPARK = 24
SCORE = 5

HUES = {"": "", "slate": "bright_blue", "amber": "yellow", "teal": "green", "violet": "magenta"}
TONES = {"": "", "better": "yellow", "worse": "bold red", "open": "", "muted": "dim", "strong": "bold"}
VERDICTS = {"better": "bold yellow", "worse": "bold red", "open": "bold", "none": "bold"}


def show(document: Document, console: Console) -> None:
    """Print the document; what a form does not keep is left out."""
    group = Group(*_document(document, console.width))
    console.print(group, soft_wrap=False, markup=False, highlight=False, emoji=False)


def _flat(text: str) -> str:
    """Text on one line, which cannot write a line of its own."""
    return " ".join(visible(text).split())


def _document(document: Document, width: int) -> Iterator[RenderableType]:
    title = _flat(f"{document.title} {document.subtitle}")
    badge = ("  ", (f" {_flat(document.badge.text)} ", "reverse")) if document.badge else ()
    yield Line.assemble((title, "bold"), *badge)
    yield from (Line(_flat(alarm), "bold red") for alarm in document.alarms)
    if document.verdict:
        yield from _verdict(document.verdict)
    yield from (Line(_flat(note), "dim") for note in document.notes)
    if facts := shown_rows(document.facts, document.facts_keep.limit(FORM)):
        yield Line(" · ".join(_fact_line(fact) for fact in facts), "dim")
    for section in document.sections:
        if section.keep.limit(FORM) != 0:
            yield Line(f"\n{_flat(section.title)}", "bold")
            yield from _indented(_blocks(section.blocks, width - INDENT))


def _indented(parts: Iterator[RenderableType]) -> Iterator[RenderableType]:
    return (Padding(part, (0, 0, 0, INDENT), expand=False) for part in parts)


def _verdict(verdict: Verdict) -> Iterator[RenderableType]:
    told = _flat(f"{verdict.sentence} {verdict.number}")
    yield Line.assemble((told, VERDICTS[verdict.tone]), " ", _flat(verdict.detail))
    if verdict.more:
        yield Line(_flat(verdict.more))
    if verdict.warning:
        yield Line(_flat(verdict.warning), "bold red")


def _fact_line(fact: Fact) -> str:
    told = _flat(f"{fact.title}: {fact.value}")
    return f"{told} ({_flat(fact.note)})" if fact.note else told


def _blocks(blocks: Sequence[Block], width: int) -> Iterator[RenderableType]:
    for block in kept_blocks(blocks, FORM):
        yield from _block(block, width)


def _block(block: Block, width: int) -> Iterator[RenderableType]:
    match block:
        case Text():
            if block.text:
                yield Line(_flat(block.text), TONES[block.tone])
        case Facts():
            yield from _facts(block)
        case Bullets():
            items = shown_rows(block.items, block.keep.limit(FORM))
            yield from (Line(f"- {_flat(item.text)}", TONES[item.tone]) for item in items)
            yield from _ending(block.items, items, block.empty)
        case Table():
            yield from _table(block, width)
        case Intervals():
            yield from _intervals(block, width)
        case Bars():
            rows = shown_rows(block.rows, block.keep.limit(FORM))
            if rows:
                yield Line(", ".join(_flat(f"{row.name} {row.value}") for row in rows))
            yield from _ending(block.rows, rows, block.empty)
        case Chart():
            yield from _chart(block, width)
        case Excerpts():
            yield from _excerpts(block, width)
        case Code():
            yield from _indented(Line(line.expandtabs()) for line in visible(block.text).split("\n"))
        case Titled() | Fold():
            yield Line(_flat(block.title), "underline")
            yield from _blocks(block.blocks, width)
        case Columns():
            yield from _blocks(block.blocks, width)


def _ending(rows: Sequence[object], shown: Sequence[object], empty: str) -> Iterator[RenderableType]:
    """What there is to say after the rows: that there are none, or more on the page."""
    if not rows and empty:
        yield Line(_flat(empty), "dim")
    if len(shown) < len(rows):
        yield Line(f"{len(shown):,} of {len(rows):,}; the page has all", "dim")


def _facts(block: Facts) -> Iterator[RenderableType]:
    facts = shown_rows(block.facts, block.keep.limit(FORM))
    if facts:
        grid = _grid(LABEL, 0)
        for fact in facts:
            note = f"  {_flat(fact.note)}" if fact.note else ""
            grid.add_row(Line(_flat(fact.title), "dim"), Line.assemble(_flat(fact.value), (note, "dim")))
        yield grid
    yield from _ending(block.facts, facts, block.empty)


def _grid(*widths: int) -> Grid:
    """A grid of columns at least that wide."""
    grid = Grid.grid(padding=(0, GAP, 0, 0))
    for width in widths:
        grid.add_column(overflow="fold", min_width=width)
    return grid


def _table(table: Table, width: int) -> Iterator[RenderableType]:
    """A grid where its columns have room; else a paragraph a row: none is squeezed to a letter a line."""
    rows = shown_rows(table.rows, table.keep.limit(FORM))
    names = [_flat(column.name) for column in table.columns]
    if rows:
        texts = [[_cell(cell) for cell in row] for row in rows]
        widest = [
            max(cell_len(line) for line in (name, *(row[at].plain for row in texts)))
            for at, name in enumerate(names)
        ]
        if widths := _widths(widest, width - GAP * len(names)):
            grid = _grid(*widths)
            grid.add_row(
                *(Line(name, HUES[own.hue] or "dim") for name, own in zip(names, table.columns, strict=True))
            )
            for row in texts:
                grid.add_row(*row)
            yield grid
        else:
            for first, *others in texts:
                told = [
                    Line.assemble((f"{name} ", "dim"), text)
                    for name, text in zip(names[1:], others, strict=True)
                    if text.plain
                ]
                head = Line.assemble(first, ": ") if told else first
                yield head + Line(", ").join(told)
    yield from _ending(table.rows, rows, table.empty)


def _widths(widest: Sequence[int], room: int) -> list[int]:
    """Each column's width, of which the widest share what the others leave; none where that is too little."""
    wanted = [max(LABEL, widest[0]), *widest[1:]]
    for most in range(max(*wanted, LEAST_COLUMN), LEAST_COLUMN - 1, -1):
        widths = [min(own, most) for own in wanted]
        if sum(widths) <= room:
            return widths
    return []


def _cell(cell: Cell) -> Line:
    style = HUES[cell.hue] or TONES[cell.tone]
    interval = f" ({_flat(cell.interval)})" if cell.interval else ""
    return Line.assemble((_flat(cell.text), style), (interval, "dim"))


def _intervals(block: Intervals, width: int) -> Iterator[RenderableType]:
    rows = shown_rows(block.rows, block.keep.limit(FORM))
    names = [_flat(" ".join(filter(None, (row.name, row.remark)))) for row in rows]
    values = [
        Line.assemble(
            (_flat(row.value), "bold"),
            (f"  {_flat(row.interval)}" if row.interval else "", "dim"),
            (f"  {histogram_text(row.histogram)}" if row.histogram else "", HUES[row.hue]),
        )
        for row in rows
    ]
    label = max([LABEL, *map(cell_len, names)])
    room = width - label - 2 * GAP - max((cell_len(value.plain) for value in values), default=0)
    length = min(TRACK, room)
    if rows and length >= LEAST_TRACK:
        grid = _grid(LABEL, length, 0)
        for row, name, value in zip(rows, names, values, strict=True):
            picture = track(row, length) if row.points or row.possible else ""
            grid.add_row(Line(name, HUES[row.hue]), Line(picture, HUES[row.hue]), value)
        yield grid
    else:
        for row, name, value in zip(rows, names, values, strict=True):
            yield Line.assemble((f"{name}: ", HUES[row.hue]), value)
    yield from (
        Line(f"{name}: {_flat(row.under)}", "dim")
        for name, row in zip(names, rows, strict=True)
        if row.under and row.possible
    )
    yield from _ending(block.rows, rows, block.empty)


def _chart(chart: Chart, width: int) -> Iterator[RenderableType]:
    """A line a curve, below the title where both do not fit beside each other."""
    curves = [curve for curve in chart.curves if curve.points]
    if not curves:
        yield Line(_flat(f"{chart.title}: {chart.empty}"), "dim")
        return
    pictures = [curve_text(curve, SPARK, is_share=chart.is_share) for curve in curves]
    names = [_flat(f"{chart.title}, {curve.name}") for curve in curves]
    numbers = max(cell_len(ends) for _, ends in pictures)
    if max(map(cell_len, names)) + SPARK + numbers + 3 * GAP > width:
        yield Line(_flat(chart.title), "dim")
        names = [_flat(curve.name) for curve in curves]
    grid = _grid(LABEL, SPARK, 0)
    for curve, name, (picture, ends) in zip(curves, names, pictures, strict=True):
        grid.add_row(Line(name, "dim"), Line(picture, HUES[curve.hue]), Line(ends))
    yield grid


def _excerpts(block: Excerpts, width: int) -> Iterator[RenderableType]:
    """All examples in one grid, so that they line up."""
    rows = shown_rows(block.rows, block.keep.limit(FORM), is_spread=block.is_spread)
    scores = [text for row in rows for text in (row.score, *(quote.score for quote in row.answers))]
    labels = [text for row in rows for text in (row.meta, *(quote.label for quote in row.answers))]
    taken = sum(max(map(cell_len, map(_flat, texts)), default=0) for texts in (scores, labels))
    room = max(20, width - max(taken, LABEL + SCORE) - 3 * GAP)
    if rows:
        grid = _grid(LABEL, SCORE, 0)
        for row in rows:
            _add_excerpt(grid, row, room, with_remarks=block.with_remarks)
        yield grid
    yield from _ending(block.rows, rows, block.empty)


def _add_excerpt(grid: Grid, row: Excerpt, room: int, *, with_remarks: bool) -> None:
    score = Line(_flat(row.score), TONES[row.tone], justify="right")
    asked = one_line(" ".join(quote.text for quote in row.asked), room)
    grid.add_row(Line(_flat(row.meta), "dim"), score, Line(asked, "bold" if row.answers else ""))
    for quote in row.answers:
        grid.add_row(*_answer(quote, room))
        for remark in quote.remarks if with_remarks and one_line(quote.text, room) else ():
            grid.add_row(Line(), Line(), Line(one_line(remark, room), "dim italic"))
    if row.facts:
        told = " · ".join(one_line(f"{fact.title} {fact.value} {fact.note}", room) for fact in row.facts)
        grid.add_row(Line(), Line(), Line(told, "dim"))


def _answer(quote: Quote, room: int) -> tuple[Line, Line, Line]:
    text = one_line(quote.text, room)
    told = Line(text) if text else Line("; ".join(map(_flat, quote.remarks)) or _flat(quote.empty), "dim")
    score = Line(_flat(quote.score), HUES[quote.hue], justify="right")
    return Line(_flat(quote.label), HUES[quote.hue] or "dim"), score, told
