"""Conversations of the board: one model or two, blind or not, and what a vote makes of them."""

import threading

import pytest

from flows.board.chat_session import ChatSession, settings_of
from flows.serving.ready import ReadyModels
from tasks.errors import UsageError
from tasks.serve.chat_models import Answer, ChatSettings, Token

SETTINGS = ChatSettings()


class Parrot:
    """A model that says its name and what it hears, in two pieces."""

    remembers = True
    context = 60

    def __init__(self, name):
        self.name = name

    def tokens(self, row):
        said = "".join(turn["content"] for turn in row["messages"]) + row["instruction"]
        return [Token(ord(one), one) for one in said]

    def answer(self, row, settings):
        ended = "length" if settings.max_tokens == 1 else "stop"
        return Answer(iter([self.name, f" {row['instruction']}"]), ended)


@pytest.fixture
def opened():
    """Names of models, in the order in which they were opened and closed."""
    return []


@pytest.fixture
def ready(opened):
    def open_(name, stack):
        if name == "missing":
            raise UsageError("there is no such model")
        opened.append(f"+{name}")
        stack.callback(lambda: opened.append(f"-{name}"))
        return Parrot(name)

    found = ReadyModels(open_, most=2)
    yield found
    found.close()


def last(session, text, ready, settings=SETTINGS):
    *_, said = session.say(text, settings, ready)
    return said


def vote(session, preferred):
    """Vote; gives the exchange that was saved."""
    saved = []
    session.vote(preferred, lambda *given: saved.append(given))
    ((exchange, choice),) = saved
    assert choice == preferred
    return exchange


def test_one_model_answers_in_pieces_and_remembers(ready):
    session = ChatSession.begin(["one"], system=" Be kind. ")
    assert list(session.say("Hi", SETTINGS, ready)) == [["one"], ["one Hi"]]
    assert [token.text for token in session.tokens[0]] == list("Be kind.Hi")
    assert session.turns == [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "one Hi"}]]
    assert (session.titles, session.exchange, session.notes) == (["one"], None, [""])


def test_blank_message_asks_nothing(ready, opened):
    session = ChatSession.begin(["one"])
    with pytest.raises(UsageError, match="write a message first"):
        last(session, " \n", ready)
    assert (session.turns, opened) == ([[]], [])


def test_two_models_answer_beside_each_other(ready):
    session = ChatSession.begin(["one", "two"])
    assert list(session.say("Hi", SETTINGS, ready)) == [["one", "two"], ["one Hi", "two Hi"]]
    assert session.titles == ["A: one", "B: two"]
    assert session.exchange.is_shared


def test_names_are_hidden_until_the_vote_and_the_order_is_drawn(ready):
    assert ChatSession.begin(["one", "two"], blind=True, swapped=lambda: False).names == ("one", "two")
    session = ChatSession.begin(["one", "two"], blind=True, swapped=lambda: True)
    assert last(session, "Hi", ready) == ["two Hi", "one Hi"]
    assert session.titles == ["A", "B"]
    exchange = vote(session, "b")
    assert (exchange.models, exchange.answers, exchange.blind) == (
        ("two", "one"),
        ("two Hi", "one Hi"),
        True,
    )
    assert session.titles == ["A: two", "B: one"]
    last(session, "Go on", ready)
    assert session.exchange.blind is False


def test_both_go_on_from_the_answer_that_was_preferred(ready):
    session = ChatSession.begin(["one", "two"])
    last(session, "Hi", ready)
    vote(session, "b")
    assert [turns[-1]["content"] for turns in session.turns] == ["two Hi", "two Hi"]
    last(session, "Ho", ready)
    assert session.exchange.is_shared
    last(session, "Ho", ready)  # without a vote
    assert not session.exchange.is_shared


def test_votes_are_one_an_answer(ready):
    session = ChatSession.begin(["one", "two"])
    with pytest.raises(UsageError, match="no two answers to vote on"):
        vote(session, "a")
    last(session, "Hi", ready)
    vote(session, "tie")
    with pytest.raises(UsageError, match="no two answers to vote on"):
        vote(session, "a")


def test_vote_that_could_not_be_saved_can_be_given_again(ready):
    session = ChatSession.begin(["one", "two"], blind=True, swapped=lambda: False)
    last(session, "Hi", ready)
    with pytest.raises(OSError, match="full"):
        session.vote("a", full_disk)
    assert session.titles == ["A", "B"]
    assert vote(session, "a").answers == ("one Hi", "two Hi")


def full_disk(*_):
    raise OSError("full")


def test_what_came_before_a_stop_stays_said(ready):
    session = ChatSession.begin(["one", "two"])
    pieces = session.say("Hi", SETTINGS, ready)
    next(pieces)
    pieces.close()
    assert [turns[-1]["content"] for turns in session.turns] == ["one", "two"]
    assert session.exchange is None
    assert last(session, "Ho", ready) == ["one Ho", "two Ho"]


def test_answers_that_are_cut_and_turns_left_out_are_told(ready):
    session = ChatSession.begin(["one"])
    last(session, "x" * 20, ready, ChatSettings(max_tokens=1))
    assert session.notes == ["cut after 1 tokens, the most that an answer may have"]
    last(session, "y" * 20, ready)
    assert session.notes == ["the oldest 2 messages no longer fit, and are left out"]
    with pytest.raises(UsageError, match="61 tokens"):
        last(session, "z" * 61, ready)


def test_conversation_needs_models_that_are_not_the_same():
    with pytest.raises(UsageError, match="choose a model"):
        ChatSession.begin([])
    with pytest.raises(UsageError, match="one cannot stand beside itself"):
        ChatSession.begin(["one", "one"])


def test_settings_come_from_a_form():
    assert settings_of({"temperature": 0.5, "top_k": None, "seed": 4}) == ChatSettings(
        temperature=0.5, seed=4
    )
    with pytest.raises(UsageError, match="top_p"):
        settings_of({"top_p": 2})


def test_ready_models_are_the_few_that_were_asked_last(ready, opened):
    for names in (["one"], ["two"], ["one"], ["three"]):
        with ready.using(*names):
            pass
    assert opened == ["+one", "+two", "-two", "+three"]
    with pytest.raises(UsageError), ready.using("missing"):
        pass
    with ready.using("three", "one") as models:
        assert [model.name for model in models] == ["three", "one"]


def test_ready_models_answer_one_caller_at_a_time(ready):
    heard = []

    def ask():
        with ready.using("two", "one"):
            heard.append("second")

    with ready.using("one", "two"):
        other = threading.Thread(target=ask)
        other.start()
        other.join(0.2)
        heard.append("first")
    other.join(5)
    assert heard == ["first", "second"]
