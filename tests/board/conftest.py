"""A board of a workplace of its own, and a browser that looks at it.

The browser is Debian's Chromium, driven by Playwright; where there is none, these tests are skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.board.context import Board
from flows.server.servers import Process, answers, free_port
from tests.commands import CHECKOUT, COMMAND
from tests.integration.conftest import Workplace, finished, workplace_in  # noqa: F401 - a fixture

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT = 20_000  # milliseconds that something on the page may take
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class BoardServer:
    """A board that answers, and the workplace that it is of."""

    workplace: Workplace
    address: str


@contextmanager
def board_of(
    workplace: Workplace, *options: str, profiles: tuple[str, ...] = ("tiny.yaml",), **environment: str
) -> Iterator[BoardServer]:
    """The command in a process of its own, as a user starts it, while the body runs."""
    port = free_port()
    files = [str(workplace.folder / name) for name in profiles]
    command = [COMMAND, "board", *files, "--port", str(port), *options]
    log = workplace.folder / f"board-{port}.log"
    process = Process("board", command, workplace.environment | environment, log)
    process.start()
    try:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
        yield BoardServer(workplace, f"http://127.0.0.1:{port}")
    finally:
        process.stop()


@pytest.fixture(scope="session")
def board_server(tmp_path_factory) -> Iterator[BoardServer]:
    """A board of the tiny profile, which nothing was run of yet; tests of this folder share it."""
    with board_of(workplace_in(tmp_path_factory.mktemp("board"))) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; closed before other tests, since Playwright keeps an event loop running."""
    if not CHROMIUM.is_file():
        pytest.skip(f"needs a browser: there is no {CHROMIUM}; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens an address in a window of its own; the page's `foreign` are requests that left this machine.

    `dialogs` are what scripts of the page wanted to say: hostile text that runs says something.
    """
    contexts = []

    def open_at(address: str, viewport: dict[str, int] = DESKTOP):
        context = browser.new_context(viewport=viewport)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.foreign, page.dialogs = [], []
        context.on("request", lambda request: note_foreign(page.foreign, request.url))
        page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.get_by_role("tab", name="Start").wait_for()
        return page

    yield open_at
    for context in contexts:
        context.close()


def note_foreign(foreign: list[str], url: str) -> None:
    """Add the address of a request that leaves this machine."""
    address = urlsplit(url)
    if address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1":
        foreign.append(url)


@pytest.fixture
def page(open_page, board_server):
    """The shared board in a window."""
    return open_page(board_server.address)


def width_of(page) -> int:
    """How wide the page is, in pixels; more than the window means that it is scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth")


@pytest.fixture
def board_of_nothing(tmp_path, fresh_store) -> Board:
    """A workplace in which nothing was run, without a page and without servers."""
    (tmp_path / "deployments").symlink_to(CHECKOUT / "deployments")
    tracking = fresh_store(tmp_path / "mlruns")
    return Board(tmp_path, tracking, {"TOUCHSTONE_HOME": str(tmp_path)})
