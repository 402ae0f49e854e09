"""Texts of people, data and models are shown on the board, and never run."""

import pytest

from flows.board.chat import log_html, tokens_html
from flows.board.chat_session import ChatSession
from flows.board.label import Labelling, row_html
from tasks.errors import UsageError
from tasks.judge.labels.queue import LabelQueue
from tasks.judge.protocol.responses import ResponseRow, Turn
from tasks.serve.chat_models import Token

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\x1b[2J\u202e"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;"


def row_of(index, **changes):
    asked = {"instruction": HOSTILE, "input": "", "reference": HOSTILE, "prompt": "", "response": HOSTILE}
    return ResponseRow(index, **asked | changes)


def is_harmless(html):
    return "<script" not in html and "<img" not in html and "\x1b" not in html and "\u202e" not in html


def test_row_to_label_shows_all_of_it_as_text():
    html = row_html(row_of(1, before=(Turn("system", HOSTILE),)))
    assert is_harmless(html)
    assert html.count(SAFE) == 4
    assert "<h4>input</h4>" not in html
    assert "(nothing)" in row_html(row_of(1, response=""))


def test_conversation_is_shown_as_text():
    html = log_html(
        HOSTILE, [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}]
    )
    assert is_harmless(html)
    assert html.count(SAFE) == 3
    assert "(nothing)" in log_html("one", [{"role": "assistant", "content": ""}])


def test_tokens_are_shown_as_text():
    session = ChatSession(names=(HOSTILE,), tokens=[[Token(7, "<script>"), Token(8, "\x1b")]])
    html = tokens_html(session)
    assert is_harmless(html)
    assert 'title="7">&lt;script&gt;</span>' in html
    assert "nothing was said yet" in tokens_html(ChatSession())


def labelling(rows, saved):
    queue = LabelQueue(rows, {}, lambda *label: saved.append(label))
    return Labelling(None, None, None, queue, "ann")


def test_keys_label_skip_and_go_back():
    saved = []
    asked = labelling([row_of(1), row_of(2), row_of(3)], saved)
    for seen, key in enumerate(("5", "s", "0")):
        asked.press(key, seen)
    assert saved == [(1, 5), (3, 0)]
    assert (asked.queue.done, asked.queue.row) == (2, None)
    asked.press("1", 3)  # after the last row
    again = labelling([row_of(1), row_of(2)], saved)
    for seen, key in enumerate(("4", "b", "2")):
        again.press(key, seen)
    assert saved[2:] == [(1, 4), (1, 2)]


@pytest.mark.parametrize(("rows", "found"), [(None, "nothing"), (0, "0")])
def test_labelling_of_no_rows_is_refused(rows, found):
    with pytest.raises(UsageError, match=f"Rows in all: expected 1 or more, found {found}"):
        Labelling.begin(None, "model", rows, "ann")


def test_key_pressed_before_the_next_row_is_shown_is_none():
    saved = []
    asked = labelling([row_of(1), row_of(2)], saved)
    asked.press("5", 0)
    asked.press("3", 0)
    assert saved == [(1, 5)]
    assert asked.queue.row.id == 2
