"""The tabs of the board, in their order."""

from collections.abc import Callable

from flows.board.chat import chat_tab
from flows.board.context import Board
from flows.board.export import export_tab
from flows.board.label import label_tab
from flows.board.results import results_tab
from flows.board.start import start_tab
from flows.board.watch import watch_tab

TABS: dict[str, Callable[[Board], None]] = {
    "Start": start_tab,
    "Watch": watch_tab,
    "Results": results_tab,
    "Chat": chat_tab,
    "Label": label_tab,
    "Export": export_tab,
}
