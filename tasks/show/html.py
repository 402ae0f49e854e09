"""A document as one HTML file that needs nothing else: no network, no script, no font."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.show.document import Block, Chart, Document, Excerpts, Form, Item, kept_blocks, shown_rows
from tasks.show.plots import plot_of
from tasks.show.text import capital, visible

FORM: Form = "page"
TEMPLATE, BLOCKS = "document.html.j2", "blocks.html.j2"


def as_html(document: Document) -> str:
    """The page. The template engine escapes all text, and control characters are made visible."""
    return _environment().get_template(TEMPLATE).render(document=document)


def chart_html(chart: Chart) -> str:
    """A chart alone, for a page that has its own style sheet; escaped as `as_html` escapes."""
    return str(_environment().get_template(BLOCKS).module.chart(chart))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "capital": capital,
        "count": "{:,}".format,
        "keep": _keep,
        "kept": lambda blocks: kept_blocks(blocks, FORM),
        "plot": plot_of,
        "most": lambda counts: max(counts, default=0),
        "is_address": lambda href: re.match("https?://", href) is not None,
    }
    return environment


def _keep(rows: Sequence[Item], block: Block) -> list[Item]:
    is_spread = isinstance(block, Excerpts) and block.is_spread
    return shown_rows(rows, block.keep.limit(FORM), is_spread=is_spread)
