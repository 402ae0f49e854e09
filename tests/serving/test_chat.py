"""The chat at the terminal and in scripts: commands, interruptions, and what each prints where."""

import io
import os
import signal

import pytest
from rich.console import Console

from flows.process.interrupts import Interrupts, interrupts
from flows.serving.chat import Chat
from tasks.errors import UsageError
from tasks.serve.chat_models import Answer, Token


class Echo:
    """A model that says what it was asked, in pieces."""

    remembers = True
    context = 40

    def __init__(self, name="echo", interrupted=False):
        self.name, self.interrupted = name, interrupted

    def tokens(self, row):
        turns = [turn["content"] for turn in row["messages"]]
        return [Token(ord(char), char) for char in "".join([*turns, row["instruction"]])]

    def answer(self, row, settings):
        return Answer(self._pieces(row["instruction"]), "length" if settings.max_tokens == 1 else "stop")

    def _pieces(self, text):
        yield text[:2]
        if self.interrupted:
            raise KeyboardInterrupt
        yield text[2:]


def chat(lines, *models, person=True, width=60):
    """Status, answers, notices of a chat in which `lines` are said; an exception is raised in its place."""
    said, out, notices = iter(lines), io.StringIO(), io.StringIO()

    def read(_prompt):
        line = next(said, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    talk = Chat(
        models or [Echo()],
        Console(file=out, width=width),
        Console(file=notices, width=width),
        person=person,
    )
    return talk.run(read), out.getvalue(), notices.getvalue()


def test_a_script_gets_a_line_for_each_of_its_lines():
    lines = ["Hi\\n", "", "a\tb", "//etc"]
    assert chat(lines, person=False) == (0, "Hi\\\\n\n\na\\tb\n/etc\n", "")
    assert chat(["Hello"], Echo(), Echo("other"), person=False)[1] == "Hello\tHello\n"
    with pytest.raises(UsageError, match="there is no /etc"):
        chat(["/etc"], person=False)


def test_a_message_may_have_several_lines():
    assert chat(["one\\", "two"])[1] == "one\ntwo\n"
    assert chat(['"""', "one", "", "two", '"""'])[1] == "one\n\ntwo\n"


def test_commands():
    status, out, notices = chat(
        [
            "/tokens",
            "/system Be.",
            "Hi",
            "/tokens",
            "/reset",
            "/set top_k=4",
            "/set",
            "/help",
            "/bye",
            "not read",
        ]
    )
    assert (status, out) == (0, "Hi\n")
    assert "nothing was said yet" in notices
    assert "echo, 5 of 40 tokens\n66:'B' 101:'e' 46:'.' 72:'H' 105:'i'" in notices
    assert notices.count("top_k=4") == 2
    assert "/reset            forget what was said" in notices
    assert "there is no /x; /help" in chat(["/x"])[2]


def test_what_no_longer_fits_is_told():
    notices = chat(["x" * 12, "y" * 12])[2]
    assert "the oldest 2 messages are left out" in notices
    assert "this is 41 tokens" in chat(["x" * 41])[2]
    assert "(cut after 1 tokens: /set max_tokens=N" in chat(["/set max_tokens=1", "Hi"])[2]


def test_what_would_act_on_the_terminal_is_made_visible():
    assert chat(["a\x1b[31mb"])[1] == "a\\x1b[31mb\n"
    assert "a\\x1b[31mb" in chat(["a\x1b[31mb"], Echo("one"), Echo("two"), width=120)[1]
    assert chat(["a\x1b[31mb"], person=False)[1] == "a\x1b[31mb\n"


@pytest.mark.parametrize("line", ["\udcff", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
def test_a_line_that_is_no_text_is_told(line):
    with pytest.raises(UsageError, match=r"is not UTF-8: .*expected text in UTF-8"):
        chat([line], person=False)
    status, out, notices = chat([line, "Hi"])
    assert (status, out) == (0, "Hi\n")
    assert "is not UTF-8" in notices


def test_two_models_stand_beside_each_other_in_a_wide_terminal():
    models = Echo("one"), Echo("two")
    assert chat(["Hello"], *models)[1] == "one\nHello\ntwo\nHello\n"
    header, row = chat(["Hello"], *models, width=120)[1].splitlines()[-2:]
    assert header.split() == ["one", "two"]
    assert row.split() == ["Hello", "Hello"]


def test_ctrl_c_ends_the_answer_and_twice_at_the_prompt_the_chat():
    status, out, notices = chat(["Hello", KeyboardInterrupt(), "/tokens"], Echo(interrupted=True))
    assert (status, out) == (0, "He")
    assert "(stopped)" in notices
    assert "once more ends the chat" in notices
    assert "echo, 5 of" in notices
    assert chat([KeyboardInterrupt(), KeyboardInterrupt(), "Hi"])[:2] == (130, "")
    assert chat([KeyboardInterrupt(), "Hi", KeyboardInterrupt(), "Ho"])[:2] == (0, "Hi\nHo\n")
    assert chat([KeyboardInterrupt()], person=False)[0] == 130


def test_sigterm_ends_the_chat(monkeypatch):
    monkeypatch.setattr(interrupts, "_raised", signal.SIGTERM)
    monkeypatch.setattr(interrupts, "asked", True)
    assert chat([KeyboardInterrupt(), "Hi"])[:2] == (143, "")


def test_ctrl_c_is_the_chats_own_while_it_runs():
    ours = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    with ours.ctrl_c_raises():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            ours.hear(signal.SIGINT)
            assert not ours.asked
    assert signal.getsignal(signal.SIGINT) == before
    assert ours.status == 130
