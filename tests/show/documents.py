"""Documents for the tests of the renderers: one of every block, whose every text is the one that is given."""

from dataclasses import fields, is_dataclass

from tasks.show import document as blocks
from tasks.show.document import (
    Badge,
    Bar,
    Bars,
    Bullet,
    Bullets,
    Cell,
    Chart,
    Code,
    Column,
    Columns,
    Curve,
    Document,
    Excerpt,
    Excerpts,
    Fact,
    Facts,
    Fold,
    Group,
    Interval,
    Intervals,
    Point,
    Quote,
    Section,
    Table,
    Text,
    Verdict,
)

EVERYWHERE = blocks.ALL
POINTS = [(1.0, 2.0, 1.5, 2.5), (2.0, 1.0, 0.5, 1.5)]


def block_of_each(text):
    """A block of every kind, all of whose texts are `text`."""
    fact = Fact(text, text, text)
    quote = Quote(text, text, "amber", text, [text], text)
    cells = [Cell(text, text, "better", "slate"), Cell(text), Cell(text, shade=0.7), Cell(text, is_code=True)]
    interval = Interval(
        text, text, text, "teal", [Point(50.0)], 40.0, 60.0, (30.0, 70.0), [0, 3, 1], text, text
    )
    chart = Chart(text, text, [Curve(text, "slate", POINTS, 20)], kept=1.0)
    return [
        Text(text, "worse"),
        Facts([fact, Fact(text, text, href=text), Fact(text, text, is_code=True)]),
        Bullets([Bullet(text, "strong")]),
        Table([Column(text, "slate"), *[Column(text)] * 3], [cells]),
        Table([Column(text)] * 4, [cells], is_matrix=True),
        Intervals([interval], unit=text, key=[(text, "slate")]),
        Intervals([Interval(text, text)], is_compact=True),
        Bars([Bar(text, 0.5, text, text, text), Bar(text, None, text)]),
        chart,
        Excerpts([Excerpt(text, [quote, quote], [quote, quote], [fact], text, "worse")], with_remarks=True),
        Excerpts(
            [Excerpt(text, [Quote(text, "", empty=text)], [Quote(text, "", remarks=[text], empty=text)])]
        ),
        Code(text, "python"),
        *empty_blocks(text),
    ]


def empty_blocks(text):
    """What there is nothing in, which says so."""
    return [
        Facts([], empty=text),
        Bullets([], empty=text),
        Table([], [], empty=text),
        Intervals([], empty=text),
        Bars([], empty=text),
        Chart(text, text, [], empty=text),
        Chart(text, text, [Curve(text, "slate", [], 0)], empty=text),
        Excerpts([], empty=text),
    ]


def document_of(*inner, text="text"):
    """A document that holds blocks as they are, in a group, in columns and in a fold."""
    nested = [Group(text, inner, is_boxed=True), Columns(inner), Fold(text, inner, keep=EVERYWHERE)]
    return Document(
        kind="test",
        title=text,
        subtitle=text,
        badge=Badge(text, "better"),
        alarms=[text],
        verdict=Verdict("better", text, text, text, text, text),
        notes=[text],
        facts=[Fact(text, text, text)],
        sections=[Section(text, [*inner, *nested])],
    )


def kinds_in(value):
    """The names of the classes of blocks that a value holds."""
    if is_dataclass(value):
        yield type(value).__name__
        for field in fields(value):
            yield from kinds_in(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from kinds_in(one)
