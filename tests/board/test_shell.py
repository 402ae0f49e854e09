"""The board's page: what it loads, who may open it, how wide it is."""

import subprocess

import httpx
import pytest

from flows.board.access import PASSWORD, login_of
from tasks.errors import UsageError
from tests.board.conftest import PHONE, board_of, note_foreign, width_of
from tests.commands import COMMAND

SECRET = "a long password"


def test_board_elsewhere_needs_a_user(touchstone):
    status, _, err = touchstone("board", "--host", "0.0.0.0")
    assert status == 2
    assert "--host 0.0.0.0 lets other machines in" in err
    assert "--auth USER" in err


@pytest.mark.parametrize(("password", "found"), [("", "is not set"), ("short", "has 5 characters")])
def test_board_password_is_long(monkeypatch, password, found):
    monkeypatch.setenv(PASSWORD, password)
    with pytest.raises(UsageError, match=found):
        login_of("ann", "0.0.0.0")


def test_board_login_knows_its_user_and_password(monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    may_in = login_of("änn", "127.0.0.1")
    assert may_in("änn", SECRET)
    assert not may_in("änn", SECRET[:-1])
    assert not may_in("bob", SECRET)
    assert login_of(None, "::1") is None


@pytest.mark.parametrize("profile", ["none.yaml", "corpus.txt"])
def test_board_offers_only_profiles(touchstone, tmp_path, profile):
    (tmp_path / "corpus.txt").write_text("text", encoding="utf-8")
    status, _, err = touchstone("board", profile)
    assert status == 2
    assert f"{profile}: expected the YAML file of a profile" in err


def test_board_without_gradio_says_what_to_install(touchstone, monkeypatch):
    monkeypatch.setattr("flows.command.board.find_spec", lambda name: None)
    status, _, err = touchstone("board")
    assert status == 2
    assert 'pip install "touchstone[board]"' in err


@pytest.mark.slow
def test_board_lets_no_foreign_page_in(board_server):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert httpx.get(board_server.address, headers=headers).status_code == 403
    own = httpx.get(board_server.address)
    assert own.status_code == 200
    assert "default-src 'self'" in own.headers["Content-Security-Policy"]


@pytest.mark.slow
def test_board_fetches_nothing_for_anybody(board_server):
    """Gradio would pass on what a public address gives, behind the path of its files."""
    for scheme in ("http", "https"):
        answer = httpx.get(f"{board_server.address}/gradio_api/file={scheme}://example.org/")
        assert (answer.status_code, answer.text) == (404, "not here")


@pytest.mark.slow
def test_board_asks_nobody_else(page):
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(500)
    assert page.foreign == []


@pytest.mark.slow
def test_board_is_no_wider_than_a_phone(open_page, board_server):
    page = open_page(board_server.address, PHONE)
    assert width_of(page) <= PHONE["width"]


@pytest.mark.slow
def test_board_asks_for_its_password(browser, board_server):
    with board_of(board_server.workplace, "--auth", "ann", **{PASSWORD: SECRET}) as board:
        assert httpx.get(f"{board.address}/config").status_code == 401
        page, foreign = browser.new_page(), []
        page.on("request", lambda request: note_foreign(foreign, request.url))
        page.goto(board.address)
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill(SECRET)
        page.get_by_role("button", name="Login").click()
        page.get_by_role("tab", name="Start").wait_for()
        page.close()
    assert foreign == []


@pytest.mark.slow
def test_board_says_that_its_port_is_taken(board_server):
    taken = board_server.address.rpartition(":")[2]
    done = subprocess.run(
        [COMMAND, "board", "--port", taken],
        env=board_server.workplace.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {taken} of 127.0.0.1 is taken" in done.stderr
