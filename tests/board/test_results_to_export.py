"""Results, chat, labels and exports in a browser; rows, answers and reasons are hostile."""

import json
import random
import re

import pytest

from tasks.judge.votes.store import votes
from tests.board.conftest import DESKTOP, PHONE, board_of, width_of
from tests.integration.conftest import TINY, workplace_in

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(7)>"
MODEL = "touchstone-hostile"
SETTLED = 2_000  # milliseconds until the server has taken a choice
LOADED = 180_000  # milliseconds that a model, or a command of its own, may take


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A board of two runs, each with a version of the same model."""
    workplace = workplace_in(tmp_path_factory.mktemp("hostile"))
    draw = random.Random(1)
    words = ["".join(draw.choices("aeioulmnrst", k=5)) for _ in range(400)]
    rows = [
        {"instruction": f"{' '.join(words[place * 6 : place * 6 + 6])} {HOSTILE}", "output": HOSTILE}
        for place in range(60)
    ]
    (workplace.folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    profile = TINY.replace("made: skills\n      count: 60", "path: rows.json")
    (workplace.folder / "hostile.yaml").write_text(profile, encoding="utf-8")
    for epochs in (1, 2):
        result = workplace("run", "hostile.yaml", "--set", f"finetune.epochs={epochs}", "--json")
        assert result.status == 0, result.err
    with board_of(workplace, profiles=()) as server:
        yield server


@pytest.fixture
def look(board, open_page):
    """Opens the board at a tab."""

    def open_tab(name, viewport=DESKTOP):
        page = open_page(board.address, viewport)
        show(page, name)
        return page

    return open_tab


def show(page, name):
    """Choose a tab, which may be in the menu of those that have no room."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown").get_by_text(name, exact=True)
    tab.click()


def choose(page, box, text):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=text).first.click()


def is_harmless(page):
    return page.dialogs == [] and page.foreign == []


def test_results_show_the_card_of_a_run(board, look):
    page = look("Results")
    page.get_by_role("gridcell", name=f"{MODEL}/2").click()
    card = page.frame_locator("#card iframe")
    card.get_by_role("heading", name=MODEL).wait_for()
    assert is_harmless(page)
    assert page.locator("#card iframe").get_attribute("sandbox") == ""


def test_results_compare_two_models_row_by_row(look):
    page = look("Results")
    show(page, "Compare")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("choose two models to compare").wait_for()
    choose(page, "compare-a", f"{MODEL}/2")
    choose(page, "compare-b", f"{MODEL}/1")
    page.get_by_role("button", name="Compare").click()
    shown = page.frame_locator("#comparison iframe")
    shown.get_by_text("Positive differences mean that A is better").first.wait_for(timeout=LOADED)
    assert is_harmless(page)


def test_results_move_the_champion_with_a_reason(board, look):
    champion = board.workplace("models", "--json").json["models"][0]["champion"]
    first, second = (1, 2) if champion == 2 else (2, 1)
    page = look("Results")
    show(page, "Registered models")
    choose(page, "version", f"{MODEL}/{first}")
    page.get_by_role("button", name="Make it the champion").click()
    page.get_by_text("say why").wait_for()
    for version in (first, second):
        choose(page, "version", f"{MODEL}/{version}")
        page.get_by_label("Reason").fill(HOSTILE)
        page.get_by_role("button", name="Make it the champion").click()
        page.locator("#moved").get_by_text(f"version {version} is the champion now").wait_for()
    page.get_by_role("button", name="Roll back").click()
    page.locator("#moved").get_by_text(f"version {first} is the champion now").wait_for()
    assert board.workplace("models", "--json").json["models"][0]["champion"] == first
    assert is_harmless(page)


def test_chat_of_two_is_blind_until_the_vote(board, look):
    page = look("Chat")
    text = page.locator("#chat-text textarea")
    text.fill("Hello")
    text.press("Enter")
    page.get_by_text("choose a model to talk to").wait_for()
    choose(page, "chat-a", f"{MODEL}/1")
    choose(page, "chat-b", f"{MODEL}/2")
    page.wait_for_timeout(SETTLED)  # a choice begins anew, and ends what was said before it arrived
    text.fill(HOSTILE)
    text.press("Enter")
    page.locator("#votes").wait_for(timeout=LOADED)
    assert MODEL not in page.locator("#log-a").inner_text()
    page.get_by_role("button", name="B is better").click()
    page.locator("#log-b").get_by_text(f"B: {MODEL}/").wait_for()
    page.get_by_text("Votes of everybody").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the rows").click()
    rows = json.loads(download.value.path().read_text(encoding="utf-8"))
    (vote,) = votes(board.workplace.store())
    assert (vote.preferred, vote.exchange.blind) == ("b", True)
    assert vote.exchange.conversations[0] == [{"role": "user", "content": HOSTILE}]
    differ = len({answer.strip() for answer in vote.exchange.answers} - {""}) == 2
    assert len(rows) == differ
    assert is_harmless(page)


def test_chat_settings_that_are_not_possible_are_told(look):
    page = look("Chat")
    choose(page, "chat-a", f"{MODEL}/1")
    page.get_by_text("System message and sampling").click()
    page.locator("#chat-most input").fill("0")
    page.locator("#chat-text textarea").fill("Hello")
    page.locator("#chat-text textarea").press("Enter")
    page.get_by_text("max_tokens: Input should be greater than or equal to 1").wait_for()


def test_labels_of_two_people_are_given_by_keys(look):
    people = {name: look("Label") for name in ("ann", "bob")}
    for name, page in people.items():
        begin_labelling(page, name, done=0)
        page.locator("#label-row").click()  # away from the form
    for done, key in enumerate("53", start=1):
        for name, page in people.items():
            page.keyboard.press(key)
            page.get_by_text(re.compile(f"{done} of [0-9]+ labelled by {name}")).wait_for()
    page = people["ann"]
    assert HOSTILE in page.locator("#label-row").inner_text()
    page.get_by_role("button", name="What the labels say so far").click()
    page.frame_locator("#agreement iframe").get_by_text("over the 2 rows that several labelled").wait_for()
    begin_labelling(look("Label"), "ann", done=2)
    assert is_harmless(page)


def begin_labelling(page, name, done):
    choose(page, "label-model", f"{MODEL}/2")
    page.locator("#label-by").get_by_role("textbox").fill(name)
    page.locator("#label-start").click()
    page.get_by_text(re.compile(f"{done + 1} of [0-9]+ · {done} of [0-9]+ labelled by {name}")).wait_for()


def test_export_is_made_shown_and_downloaded(board, look):
    page = look("Export")
    choose(page, "export-model", f"{MODEL}/1")
    page.get_by_label("gguf: a file").check()
    page.get_by_label("q8_0", exact=True).check()
    page.locator("#export-start").click()
    page.frame_locator("#export-page iframe").get_by_text("minus the original").wait_for(timeout=LOADED)
    with page.expect_download() as download:
        page.locator("#export-files a", has_text="B").first.click()
    name = f"{MODEL}-v1-q8_0.gguf"
    assert download.value.suggested_filename == name
    (file,) = board.workplace.mlruns.rglob(name)
    assert download.value.path().read_bytes() == file.read_bytes()
    show(page, "Chat")
    choose(page, "chat-a", name)
    page.locator("#chat-text textarea").fill("Hello")
    page.locator("#chat-text textarea").press("Enter")
    page.locator("#log-a .assistant").wait_for(timeout=LOADED)
    assert is_harmless(page)


@pytest.mark.parametrize("name", ["Results", "Chat", "Label", "Export"])
def test_tabs_are_no_wider_than_a_phone(look, name):
    page = look(name, PHONE)
    page.wait_for_timeout(1000)
    assert width_of(page) <= PHONE["width"]
