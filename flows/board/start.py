"""The tab Start: a profile, its settings, own files, the checks, and the run."""

import gradio as gr

from flows.board.context import Board


def start_tab(board: Board) -> None:
    """Build the tab."""
    gr.Markdown(f"Runs of `{board.home}` are started here.")
