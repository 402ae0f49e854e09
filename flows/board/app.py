"""The board as an application: its page, and what that page may load."""

from http import HTTPStatus
from importlib.resources import files

import gradio as gr
from fastapi import FastAPI
from gradio.themes.utils.fonts import Font
from gradio_client.utils import is_http_url_like
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.board.access import Login
from flows.board.context import Board
from flows.board.refresh import watch_store
from flows.board.tabs import TABS

AT_ONCE = 16  # presses of one button that are heeded at the same time, of all who have the page open
LARGEST_UPLOAD = "4gb"
FILE = "/file="  # before the path of a file, in Gradio's addresses
HOUR = 3600  # seconds; files that were uploaded or downloaded go after a day
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-src 'self'; "
    "form-action 'self'; base-uri 'self'; object-src 'none'"
)
"""What the page may load: nothing from elsewhere. Gradio's own scripts need the two that are unsafe."""

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def board_app(board: Board) -> gr.Blocks:
    """The page: a tab for each of `TABS`."""
    with gr.Blocks(
        title="Touchstone", analytics_enabled=False, fill_width=True, delete_cache=(HOUR, 24 * HOUR)
    ) as blocks:
        gr.HTML('<h1 class="board-title">Touchstone</h1>')
        watch_store()
        with gr.Tabs():
            for name, build in TABS.items():
                with gr.Tab(name, id=name.lower()):
                    build(board)
    return blocks.queue(default_concurrency_limit=AT_ONCE, api_open=False)


def served(board: Board, login: Login | None) -> ASGIApp:
    """The page as an application that a server answers by."""
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.amber,
        secondary_hue=gr.themes.colors.amber,
        neutral_hue=gr.themes.colors.stone,
        font=[Font(name) for name in SANS],
        font_mono=[Font(name) for name in MONO],
    )
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        board_app(board),
        path="/",
        footer_links=[],
        run_history=False,
        auth=login,
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme,
        css=_style("tasks.show", "chart.css") + _style("flows.board", "board.css"),
    )
    return _with_policy(app)


def _style(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _with_policy(app: ASGIApp) -> ASGIApp:
    """The application, each answer of which tells the browser to load nothing from elsewhere.

    Nor does it fetch anything itself: behind FILE Gradio would pass on whatever a public address gives.
    """

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        if scope["type"] == "http" and is_http_url_like(scope["path"].partition(FILE)[2]):
            await PlainTextResponse("not here", HTTPStatus.NOT_FOUND)(scope, receive, with_header)
            return
        await app(scope, receive, with_header)

    return told
