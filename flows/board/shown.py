"""When the board looks anew, as the page is opened and whenever a tab is chosen; and what it then offers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component
from gradio.context import get_render_context

from flows.board.models import Listed
from flows.board.told import handler

WIDE = 240  # pixels that a part of a row takes at least: on a phone all of it


def when_shown(look: Callable[..., Any], outputs: Component | Sequence[Component]) -> None:
    """Fill components by `look`; called inside the tab that they are in."""
    around = list(_around(get_render_context()))
    chosen = [block.select for block in around if isinstance(block, gr.Tab)]
    gr.on([around[-1].load, *chosen], handler(look), outputs=outputs, show_progress="hidden")


def choices(found: Sequence[Listed]) -> dict[str, Any]:
    """What a dropdown offers from now on; what was chosen stays so."""
    return gr.update(choices=[(one.title, one.name) for one in found])


def _around(block: BlockContext | None) -> Iterator[BlockContext]:
    """What is being built, from the inmost to the whole page."""
    while block is not None:
        yield block
        block = block.parent
