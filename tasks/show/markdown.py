"""A document as markdown, for Prefect's artifacts; no text can break out of its block."""

import re
from collections.abc import Iterator, Sequence

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
    Group,
    Interval,
    Intervals,
    Table,
    Text,
    Verdict,
    kept_blocks,
    shown_rows,
)
from tasks.show.plots import curve_text, histogram_text, track
from tasks.show.text import visible

FORM: Form = "markdown"
LONGEST = 1200  # characters shown of one text
MARGIN = 20  # characters, for labels
TRACK = 30
SPARK = 24

# Marks of spans, tables, headings and HTML; what starts a link without any mark; what starts a list.
ACTING = re.compile(r"[\\`*_\[\]<>#|~&$@]|(?<=www)\.|:(?=//)|^[-+]", re.IGNORECASE)
NUMBERED = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")


def as_markdown(document: Document) -> str:
    """The document; what a form does not keep is left out."""
    return "\n\n".join(filter(None, _document(document))) + "\n"


def as_summary(document: Document) -> str:
    """What stands above the sections, without the title."""
    return "\n\n".join(filter(None, _head(document)))


def _document(document: Document) -> Iterator[str]:
    title = f"{document.title} {document.subtitle}".rstrip()
    yield f"# {escaped(title)}" + (f": {escaped(document.badge.text)}" if document.badge else "")
    yield from _head(document)
    yield _facts(shown_rows(document.facts, document.facts_keep.limit(FORM)))
    for section in document.sections:
        if section.keep.limit(FORM) != 0:
            yield f"## {escaped(section.title)}"
            yield from _blocks(section.blocks)


def _head(document: Document) -> Iterator[str]:
    yield from (f"**{escaped(alarm)}**" for alarm in document.alarms)
    if document.verdict:
        yield from _verdict(document.verdict)
    yield from map(escaped, document.notes)


def _verdict(verdict: Verdict) -> Iterator[str]:
    told = f"{verdict.sentence} {verdict.number}".rstrip()
    yield f"**{escaped(told)}** {escaped(verdict.detail)}".rstrip()
    yield escaped(verdict.more)
    if verdict.warning:
        yield f"**{escaped(verdict.warning)}**"


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    for block in kept_blocks(blocks, FORM):
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text():
            text = escaped(block.text)
            yield f"**{text}**" if text and block.tone in ("strong", "worse") else text
        case Facts():
            facts = shown_rows(block.facts, block.keep.limit(FORM))
            yield _facts(facts) or escaped(block.empty)
            yield _more(block.facts, facts)
        case Bullets():
            items = shown_rows(block.items, block.keep.limit(FORM))
            yield "\n".join(f"- {escaped(item.text)}" for item in items) or escaped(block.empty)
            yield _more(block.items, items)
        case Table():
            yield from _table(block)
        case Intervals():
            rows = shown_rows(block.rows, block.keep.limit(FORM))
            yield _intervals(rows) if rows else escaped(block.empty)
            yield _more(block.rows, rows)
        case Bars():
            rows = shown_rows(block.rows, block.keep.limit(FORM))
            cells = [[row.name, row.value, " ".join(filter(None, (row.remark, row.note)))] for row in rows]
            yield grid(["", "value", "note"], cells) if cells else escaped(block.empty)
            yield _more(block.rows, rows)
        case Chart():
            yield _chart(block)
        case Excerpts():
            rows = shown_rows(block.rows, block.keep.limit(FORM), is_spread=block.is_spread)
            yield from (fenced(_excerpt(row)) for row in rows)
            yield _more(block.rows, rows) if rows else escaped(block.empty)
        case Code():
            yield fenced([("", block.text)], block.language or "text", margin=0, longest=None)
        case Group() | Fold():
            yield f"### {escaped(block.title)}"
            yield from _blocks(block.blocks)
        case Columns():
            yield from _blocks(block.blocks)


def _more(rows: Sequence[object], shown: Sequence[object]) -> str:
    return f"{len(shown):,} of {len(rows):,} are shown; the page has all." if len(shown) < len(rows) else ""


def _facts(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- {escaped(fact.title)}: {_value(fact)}" for fact in facts)


def _value(fact: Fact) -> str:
    value = f"<{fact.href}>" if _is_address(fact.href) else escaped(fact.value)
    return f"{value} ({escaped(fact.note)})" if fact.note else value


def _is_address(href: str) -> bool:
    return re.fullmatch(r"https?://[\w./:#?=&%@~+-]+", href) is not None


def _table(table: Table) -> Iterator[str]:
    rows = shown_rows(table.rows, table.keep.limit(FORM))
    names = [column.name for column in table.columns]
    yield grid(names, [[_cell(cell) for cell in row] for row in rows]) if rows else escaped(table.empty)
    yield _more(table.rows, rows)


def _cell(cell: Cell) -> str:
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def _intervals(rows: Sequence[Interval]) -> str:
    """A table whose pictures are code spans, which nothing in them can end."""
    lines = ["| | value | 0 to 100 | |", "| --- | --- | --- | --- |"]
    for row in rows:
        name = " ".join(filter(None, (row.name, row.remark)))
        value = f"{row.value} ({row.interval})" if row.interval else row.value
        picture = f"`{track(row, TRACK)}`" if row.points or row.possible else ""
        if row.histogram:
            picture += f" `{histogram_text(row.histogram)}`"
        lines.append(f"| {escaped(name)} | {escaped(value)} | {picture} | {escaped(row.under)} |")
    return "\n".join(lines)


def _chart(chart: Chart) -> str:
    parts = []
    for curve in chart.curves:
        if curve.points:
            picture, ends = curve_text(curve, SPARK, is_share=chart.is_share)
            parts.append(f"{escaped(curve.name)} `{picture}` {ends}")
    told = "; ".join(parts) if parts else escaped(chart.empty)
    return f"{escaped(chart.title)} over {escaped(chart.x)}: {told}"


def _excerpt(row: Excerpt) -> list[tuple[str, str]]:
    head = ", ".join(filter(None, (row.meta, row.score)))
    parts = [("row", head)] if head else []
    parts += [(quote.label, quote.text or quote.empty) for quote in row.asked]
    parts += [(fact.title, f"{fact.value} ({fact.note})" if fact.note else fact.value) for fact in row.facts]
    for quote in row.answers:
        label = f"{quote.label} ({quote.score})" if quote.score else quote.label
        remark = f" [{'; '.join(quote.remarks)}]" if quote.remarks else ""
        parts.append((label, (quote.text or quote.empty) + remark))
    return parts


def escaped(text: str) -> str:
    """Text on one line in which no character means anything to markdown, to HTML, or to a finder of links."""
    flat = " ".join(visible(text).split())
    return NUMBERED.sub(r"\1\\", ACTING.sub(r"\\\g<0>", flat))


def fenced(
    parts: Sequence[tuple[str, str]],
    language: str = "text",
    *,
    margin: int = MARGIN,
    longest: int | None = LONGEST,
) -> str:
    """Labels and texts as a code block whose fence is longer than any run of backticks in it.

    Labels stand in the margin; what follows a line feed is indented, so that no text can write a label.
    """
    text = "\n".join(
        f"{f'{label}:' if label else '':<{margin}}{_indented(value, margin, longest)}"
        for label, value in parts
    )
    runs = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, runs + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _indented(text: str, margin: int, longest: int | None) -> str:
    shown = visible(text)
    cut = shown if longest is None or len(shown) <= longest else f"{shown[:longest]}…"
    return cut.replace("\n", "\n" + " " * margin)


def grid(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(escaped, line)) for line in (names, *rows)]
    lines.insert(1, ["---"] * len(names))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
