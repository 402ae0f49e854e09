"""The tabs of the board, in their order."""

from collections.abc import Callable

from flows.board.context import Board
from flows.board.start import start_tab
from flows.board.watch import watch_tab

TABS: dict[str, Callable[[Board], None]] = {
    "Start": start_tab,
    "Watch": watch_tab,
}
