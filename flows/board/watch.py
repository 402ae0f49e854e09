"""The tab Watch: runs, while they run and afterwards."""

import gradio as gr

from flows.board.context import Board


def watch_tab(board: Board) -> None:
    """Build the tab."""
    gr.Markdown(f"Runs of `{board.home}` are watched here.")
