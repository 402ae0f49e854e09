"""A server of MLflow that goes away under an open page, and comes back: every tab, in a browser."""

import pytest

from flows.server.access import required_secret
from flows.server.servers import Place, answers, free_port, mlflow_server
from tests.board.conftest import board_of
from tests.board.test_results_to_export import LOADED, SETTLED, choose, show
from tests.integration.conftest import workplace_in

pytestmark = pytest.mark.slow

SOON = 15_000  # milliseconds in which a person is told, where MLflow's client would ask for a minute
AWAY = "does not answer"


@pytest.fixture
def served(tmp_path):
    """A factory of the trial's own server of MLflow; gives its address."""
    place, store = Place(mlflow_port=free_port()), f"sqlite:///{tmp_path / 'served.db'}"
    server = mlflow_server(place, tmp_path / "log", required_secret(), store, tmp_path / "artifacts")

    def begin():
        server.start()
        server.wait_until(lambda: answers(f"{place.mlflow}/health"))

    begin()
    yield place.mlflow, begin, server.stop
    server.stop()


def test_every_tab_tells_that_the_server_is_away_and_goes_on(served, tmp_path_factory, open_page):
    address, begin, stop = served
    workplace = workplace_in(tmp_path_factory.mktemp("away"))
    assert workplace("run", "tiny.yaml", "--json", MLFLOW_TRACKING_URI=address).status == 0
    with board_of(workplace, MLFLOW_TRACKING_URI=address) as board:
        page = open_page(board.address)
        show(page, "Watch")
        page.get_by_text("Finished, ").wait_for()
        show(page, "Results")
        page.get_by_role("gridcell", name="tiny", exact=True).wait_for()
        show(page, "Chat")
        choose(page, "chat-a", "base")
        choose(page, "chat-b", "fine-tuned")
        page.wait_for_timeout(SETTLED)
        say(page, "Hello")
        page.locator("#votes").wait_for(timeout=LOADED)
        show(page, "Label")
        choose(page, "label-model", "fine-tuned")
        page.locator("#label-start").click()
        page.get_by_text("0 of 6 labelled").wait_for()
        show(page, "Export")
        choose(page, "export-model", "fine-tuned")

        stop()
        notice(page).wait_for(timeout=SOON)
        for tab, act in acts(page).items():
            show(page, tab)
            act()
            told(page)
        fresh = open_page(board.address)
        notice(fresh).wait_for(timeout=SOON)
        assert fresh.locator(".toast-body").count() == 0

        begin()
        for one in (page, fresh):
            notice(one).wait_for(state="detached")
            show(one, "Results")
            one.get_by_role("gridcell", name="tiny", exact=True).wait_for()  # without a reload
        show(page, "Chat")
        page.get_by_role("button", name="B is better").click()
        page.locator("#log-b").get_by_text("B: ").wait_for()
        show(page, "Label")
        page.locator("#label-key-4").click()
        page.get_by_text("1 of 6 labelled").wait_for()
        show(page, "Export")
        page.locator("#export-start").click()
        page.frame_locator("#export-page iframe").get_by_text("safetensors").first.wait_for(timeout=LOADED)


def acts(page):
    """Of each tab something that asks the server."""

    def show_card():
        page.get_by_role("gridcell", name="tiny", exact=True).click()

    def press(name):
        return lambda: page.get_by_role("button", name=name).click()

    return {
        "Start": press("Start here"),
        "Results": show_card,
        "Chat": press("B is better"),
        "Label": page.locator("#label-key-4").click,
        "Export": page.locator("#export-start").click,
    }


def notice(page):
    return page.locator("#store-away").get_by_text(AWAY)


def told(page):
    """One message says it, and is closed."""
    message = page.locator(".toast-body")
    message.get_by_text(AWAY).wait_for(timeout=SOON)
    assert message.count() == 1
    page.locator(".toast-close").click()
    message.wait_for(state="detached")


def say(page, text):
    box = page.locator("#chat-text textarea")
    box.fill(text)
    box.press("Enter")
