"""Texts of people, data and models are shown on the board, and never run."""

import pytest

pytest.importorskip("gradio", reason="needs the extra board: pip install 'touchstone[board]'")

from flows.board.chat import log_html, tokens_html
from flows.board.chat_session import ChatSession
from flows.board.label import pressed, row_html
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


def test_tokens_are_shown_as_text():
    session = ChatSession(names=(HOSTILE,), tokens=[[Token(7, "<script>"), Token(8, "\x1b")]])
    html = tokens_html(session)
    assert is_harmless(html)
    assert 'title="7">&lt;script&gt;</span>' in html
    assert "nothing was said yet" in tokens_html(ChatSession())


def test_keys_label_skip_and_go_back():
    saved = []
    queue = LabelQueue([row_of(1), row_of(2), row_of(3)], {}, lambda *label: saved.append(label))
    for key in ("5", "s", "0", "3", "b", "1"):
        pressed(queue, key)
    assert saved == [(1, 5), (3, 0), (3, 1)]
    assert (queue.done, queue.row) == (2, None)
