"""When the board looks anew: as the page is opened, a tab is chosen, and MLflow's server is back."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component
from gradio.context import get_render_context

from flows.board.errors import raise_on_page, store_away
from flows.board.html import escaped
from flows.board.models import Listed

WIDE = 240  # pixels that a part of a row takes at least: on a phone all of it
EVERY = 5.0  # seconds between two looks at whether MLflow's server answers
AWAY = "store-away"  # the element that says that it does not


def watch_store() -> None:
    """Build the place at the top of the page that says for how long MLflow's server does not answer."""
    away = gr.HTML("", elem_id=AWAY)
    gr.Timer(EVERY).tick(_notice, outputs=away, show_progress="hidden")


def when_shown(look: Callable[..., Any], outputs: Component | Sequence[Component]) -> None:
    """Fill components by `look`; called inside the tab that they are in.

    While MLflow's server is away they stay as they are, and are filled when it is back. A dropdown whose
    choice is no longer offered loses it.
    """
    filled = [outputs] if isinstance(outputs, Component) else list(outputs)
    places = [place for place, component in enumerate(filled) if isinstance(component, gr.Dropdown)]
    dropdowns = [filled[place] for place in places]
    around = list(_around(get_render_context()))
    tabs = [block.select for block in around if isinstance(block, gr.Tab)]
    page = around[-1]
    away = next(block for block in page.blocks.values() if block.elem_id == AWAY)

    def fill(*chosen: Any) -> list[Any]:
        if notice := _notice():
            return [notice, *(gr.skip() for _ in filled)]
        try:
            found = look()
        except Exception as error:
            if notice := _notice():  # it went away meanwhile
                return [notice, *(gr.skip() for _ in filled)]
            raise_on_page(error)
        updates = [found] if len(filled) == 1 else list(found)
        for place, value in zip(places, chosen, strict=True):
            updates[place] = _kept(updates[place], value)
        return ["", *updates]

    gr.on([page.load, away.change, *tabs], fill, dropdowns, [away, *filled], show_progress="hidden")


def choices(found: Sequence[Listed]) -> dict[str, Any]:
    """What a dropdown offers from now on; what was chosen stays so."""
    return gr.update(choices=[(one.title, one.name) for one in found])


def _kept(offer: dict[str, Any], chosen: str | None) -> dict[str, Any]:
    """An offer of `choices`, without what was chosen if that is gone."""
    is_gone = chosen is not None and chosen not in [value for _, value in offer["choices"]]
    return offer | {"value": None} if is_gone else offer


def _notice() -> str:
    away = store_away()
    return f'<p class="wrong" role="alert">{escaped(away)}</p>' if away else ""


def _around(block: BlockContext | None) -> Iterator[BlockContext]:
    """What is being built, from the inmost to the whole page."""
    while block is not None:
        yield block
        block = block.parent
