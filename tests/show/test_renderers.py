"""Every block in every form: nothing acts, nothing is lost without a word, and nothing breaks the width."""

import re
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

from tasks.show import document as blocks
from tasks.show.document import (
    PAGE_ONLY,
    Bar,
    Bars,
    Bullet,
    Bullets,
    Cell,
    Chart,
    Column,
    Curve,
    Document,
    Excerpt,
    Excerpts,
    Fact,
    Facts,
    Interval,
    Intervals,
    Keep,
    Point,
    Quote,
    Section,
    Table,
    Text,
    table_of,
)
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.plots import histogram_text
from tasks.show.terminal import LEAST_COLUMN, show
from tests.card_outputs import HOSTILE, Page
from tests.show.documents import block_of_each, document_of, empty_blocks, kinds_in

WIDTHS = (40, 60, 120)
PLAIN = Page(as_html(document_of(*block_of_each("text"))))
LONG = "a sentence of several words that is longer than most columns are wide"


def terminal(document, width=100, **options):
    file = StringIO()
    show(document, Console(file=file, width=width, **options))
    return file.getvalue()


def forms(document):
    return {
        "page": as_html(document),
        "markdown": as_markdown(document),
        "terminal": terminal(document),
    }


def section_of(*inner):
    return Document("test", "title", [Section("section", inner)])


def test_the_documents_of_these_tests_hold_every_kind_of_block():
    held = set(kinds_in(document_of(*block_of_each("text"))))
    assert held >= {kind.__name__ for kind in get_args(blocks.Block)}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_acts_on_the_page(text):
    page = Page(as_html(document_of(*block_of_each(text), text=text)))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in PLAIN.elements]
    assert [[*own] for _, own in page.elements] == [[*own] for _, own in PLAIN.elements]
    assert not {name for _, own in page.elements for name in own} & {"onerror", "onload", "href", "src"}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066]", as_html(section_of(Text(text))))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_acts_in_markdown(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def tags(own):
        rendered = parser.render(as_markdown(document_of(*block_of_each(own), text=own)))
        return [tag for tag in re.findall(r"<(\w+)", rendered) if tag != "strong"]

    assert tags(text) == tags("text")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066]", as_markdown(section_of(Text(text)))
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_acts_in_a_terminal(text):
    """Only our own styles are sequences, and outside of code no text begins a line of its own."""
    styled = terminal(document_of(*block_of_each(text), text=text), force_terminal=True)
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u202e\u2066]", styled)
    assert "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", styled)
    plain = terminal(section_of(Text(text), Bullets([Bullet(text)])), width=1000).rstrip()
    assert len(plain.splitlines()) == 5


def test_a_template_that_asks_for_what_there_is_not_is_an_error():
    with pytest.raises(UndefinedError):
        as_html(SimpleNamespace(kind="test", title="x"))


def test_a_page_may_load_nothing_and_run_nothing():
    page = as_html(document_of(*block_of_each("text")))
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not {tag for tag, _ in Page(page).elements} & {"script", "link", "img", "iframe", "form", "object"}
    assert "url(" not in page


@pytest.mark.parametrize("href", ["https://example.org/a?b=1", "http://127.0.0.1:5000/#/runs"])
def test_only_addresses_of_the_web_are_links(href):
    document = section_of(Facts([Fact("run", "here", href=href)]))
    assert [own["href"] for tag, own in Page(as_html(document)).elements if tag == "a"] == [href]
    assert f"<{href}>" in as_markdown(document)
    for hostile in ("javascript:alert(1)", "file:///etc/passwd", " https://x", "//evil.example"):
        document = section_of(Facts([Fact("run", "here", href=hostile)]))
        assert not [tag for tag, _ in Page(as_html(document)).elements if tag == "a"]
        assert "<" not in as_markdown(document)


@pytest.mark.parametrize("block", empty_blocks("nothing is here"), ids=lambda block: block.kind)
def test_an_empty_block_says_what_is_not_there_in_every_form(block):
    for name, text in forms(section_of(block)).items():
        assert "nothing is here" in text, name


def test_an_interval_without_a_mean_says_why():
    row = Interval("judge", "no mean: too many missing", possible=(10.0, 90.0))
    for name, text in forms(section_of(Intervals([row]))).items():
        assert "no mean: too many missing" in text, name


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("text", ["text", LONG, "x" * 130, "汉字" * 40, *HOSTILE])
def test_no_line_is_wider_than_the_terminal(width, text):
    document = document_of(*block_of_each(text), text=text)
    assert max(map(cell_len, terminal(document, width).splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("columns", [2, 4, 7])
def test_no_column_is_squeezed_to_letters(width, columns):
    """Where there is no room for columns a row is a paragraph, with the names of the columns in it."""
    names = [f"name {place}" for place in range(columns)]
    shown = terminal(section_of(table_of([dict.fromkeys(names, LONG)])), width)
    longest = max(map(len, LONG.split()))
    assert longest <= LEAST_COLUMN
    for word in LONG.split():
        assert shown.count(word) >= columns, word
    for name in names[1:]:
        assert name in " ".join(shown.split())


ROWS = 7
MANY = {
    "facts": lambda keep: Facts([Fact(f"row {n}.", "x") for n in range(ROWS)], keep),
    "bullets": lambda keep: Bullets([Bullet(f"row {n}.") for n in range(ROWS)], keep),
    "table": lambda keep: Table([Column("a")], [[Cell(f"row {n}.")] for n in range(ROWS)], keep=keep),
    "intervals": lambda keep: Intervals([Interval(f"row {n}.", "1") for n in range(ROWS)], keep=keep),
    "bars": lambda keep: Bars([Bar(f"row {n}.", 0.1, "1") for n in range(ROWS)], keep=keep),
    "excerpts": lambda keep: Excerpts([Excerpt(f"row {n}.", []) for n in range(ROWS)], keep=keep),
}


@pytest.mark.parametrize("kind", MANY)
def test_each_form_keeps_its_rows_and_counts_the_others(kind):
    for name, text in forms(section_of(MANY[kind](Keep(page=5, markdown=3, terminal=2)))).items():
        kept = {"page": 5, "markdown": 3, "terminal": 2}[name]
        shown = re.findall(r"row (\d)\\?\.", text)
        assert shown == [str(n) for n in range(kept)], name
        assert f"{kept} of 7" in text, name


@pytest.mark.parametrize("kind", MANY)
def test_a_block_may_be_for_the_page_alone(kind):
    told = forms(section_of(MANY[kind](PAGE_ONLY)))
    assert ["row 6" in text for text in told.values()] == [True, False, False]


def test_examples_are_kept_from_the_first_to_the_last():
    rows = [Excerpt(f"row {n}.", [Quote("asked", "x")]) for n in range(ROWS)]
    told = forms(section_of(Excerpts(rows, is_spread=True, keep=Keep(3, 3, 3))))
    assert {tuple(re.findall(r"row (\d)\.", text)) for text in told.values()} == {("0", "3", "6")}


def test_remarks_stand_beside_an_answer_where_they_are_asked_for():
    quote = Quote("A", "the answer", remarks=["the judge's reason"])
    rows = [Excerpt("row", [Quote("asked", "x")], [quote])]
    told = forms(section_of(Excerpts(rows, with_remarks=True)))
    assert "the judge's reason" in told["terminal"]
    assert "the judge's reason" not in terminal(section_of(Excerpts(rows)))


def test_phone_shows_each_value_beside_its_columns_name():
    page = Page(as_html(section_of(table_of([{"scorer": "chrF++", "mean": Cell("96.3", "94 to 98")}]))))
    assert [own["data-name"] for tag, own in page.elements if tag == "td"] == ["mean"]
    assert "content: attr(data-name)" in as_html(section_of())


def test_a_histogram_tells_few_from_none():
    assert histogram_text([0, 1, 300]) == "·▂█"
    assert histogram_text([0, 0]) == "··"
    assert histogram_text([]) == ""


texts = st.text(max_size=30) | st.sampled_from(HOSTILE)
numbers = st.floats(0, 100)
hues = st.sampled_from(["", "slate", "amber", "teal", "violet"])
keeps = st.builds(Keep, *[st.none() | st.integers(0, 3)] * 3)
facts = st.builds(Fact, texts, texts, texts, texts, st.booleans())
quotes = st.builds(Quote, texts, texts, hues, texts, st.lists(texts, max_size=2), texts)
intervals = st.builds(
    Interval,
    texts,
    texts,
    texts,
    hues,
    st.lists(st.builds(Point, numbers, hues), max_size=3),
    st.none() | numbers,
    st.none() | numbers,
    st.none() | st.tuples(numbers, numbers).map(sorted).map(tuple),
    st.lists(st.integers(0, 10**6), max_size=12),
    texts,
    texts,
)
curves = st.builds(
    Curve, texts, hues, st.lists(st.tuples(*[st.floats(0, 1e9)] * 4), max_size=5), st.integers(0, 9)
)
tables = st.integers(1, 5).flatmap(
    lambda width: st.builds(
        Table,
        st.lists(st.builds(Column, texts, hues), min_size=width, max_size=width),
        st.lists(
            st.lists(
                st.builds(Cell, texts, texts, hue=hues, shade=st.none() | st.floats(0, 1)),
                min_size=width,
                max_size=width,
            ),
            max_size=4,
        ),
        texts,
        st.booleans(),
        keeps,
    )
)
any_block = st.one_of(
    st.builds(Text, texts, keep=keeps),
    st.builds(Facts, st.lists(facts, max_size=4), keeps, texts),
    st.builds(Bullets, st.lists(st.builds(Bullet, texts), max_size=4), keeps, texts),
    tables,
    st.builds(Intervals, st.lists(intervals, max_size=4), texts, keep=keeps),
    st.builds(
        Bars, st.lists(st.builds(Bar, texts, st.none() | st.floats(0, 1), texts), max_size=4), keep=keeps
    ),
    st.builds(Chart, texts, texts, st.lists(curves, max_size=3), st.none() | numbers, st.booleans()),
    st.builds(
        Excerpts,
        st.lists(
            st.builds(
                Excerpt,
                texts,
                st.lists(quotes, max_size=2),
                st.lists(quotes, max_size=3),
                st.lists(facts, max_size=2),
                texts,
            ),
            max_size=4,
        ),
        st.booleans(),
        st.booleans(),
        texts,
        keeps,
    ),
    st.builds(blocks.Code, texts),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(any_block, max_size=4), texts, st.sampled_from(WIDTHS))
def test_any_document_can_be_shown_in_every_form(inner, text, width):
    document = document_of(*inner, text=text)
    page = Page(as_html(document))
    assert page.elements[0][0] == "html"
    assert as_markdown(document).endswith("\n")
    assert all(cell_len(line) <= width for line in terminal(document, width).split("\n"))


@pytest.mark.parametrize("missing", ["badge", "verdict"])
def test_a_document_may_have_no_badge_and_no_verdict(missing):
    forms(replace(document_of(Text("x")), **{missing: None}))


def test_small_tables_are_grids_in_a_terminal():
    """Regression: a table narrower than the narrowest column that is wrapped was none."""
    table = Table([Column("true"), Column("texts")], [[Cell("a"), Cell("7")]])
    told = terminal(document_of(table), 60)
    assert "true" in told
    assert "a: texts" not in told
