"""A labelled text that stands in another for the most part is no new text."""

import random

import numpy as np
import pytest

from tasks.data.containment import MOST, join_contained
from tasks.data.duplicates import Groups

MESSAGE = "call germany for only a penny per minute from a fixed line without prepayment"


def groups(*texts, labels=None):
    found = Groups(len(texts))
    join_contained(found, texts, labels or ["spam"] * len(texts))
    return found.smallest().tolist()


@pytest.mark.parametrize(
    "other",
    [
        f"{MESSAGE} direct access on www telediscount co uk at any time of day or night",
        f"Dear customer, our offer of the week: {MESSAGE.upper()}!",
        f"Yes. {MESSAGE} 0844 861 85 85 stop",
        MESSAGE.replace("penny", "cent") + " now and for ever",
    ],
)
def test_message_that_another_quotes_or_continues_is_the_same(other):
    assert groups(MESSAGE, other) == [0, 0]
    assert groups(other, MESSAGE) == [0, 0]
    assert groups(MESSAGE, other, labels=["spam", "ham"]) == [0, 1]


@pytest.mark.parametrize(
    "other",
    [
        "call germany for only a penny and then tell me how it was when you are back home",  # a third of it
        "from a fixed line without prepayment",
        "",
    ],
)
def test_a_message_with_a_part_in_common_is_another(other):
    assert groups(MESSAGE, other) == [0, 1]


def test_short_texts_say_too_little():
    assert groups("see you at the bar", "see you at the bar tomorrow when it is dark") == [0, 1]


def test_what_many_texts_have_in_common_is_a_turn_of_phrase():
    texts = [f"{MESSAGE} {'abcdefghij'[n // 10]}{'klmnopqrst'[n % 10]} x{n}y" for n in range(MOST + 1)]
    assert groups(*texts) == list(range(MOST + 1))
    assert groups(*texts[:MOST]) == [0] * MOST


def test_all_pairs_by_hand_are_found(monkeypatch):
    """Against every two compared, also some texts at a time."""
    draw = random.Random(3)
    words = [f"w{letter}" for letter in "abcdefghijkl"]
    texts = [" ".join(draw.choices(words, k=draw.randrange(1, 14))) for _ in range(40)]
    texts += [f"{draw.choice(texts)} {draw.choice(texts)}" for _ in range(30)]

    def runs(text):
        own = text.split()
        return {tuple(own[start : start + 4]) for start in range(len(own) - 3)}

    expected = Groups(len(texts))
    for one, a in enumerate(map(runs, texts)):
        for other, b in enumerate(map(runs, texts)):
            if one != other and len(a) >= 6 and len(a & b) >= 0.6 * len(a):
                expected.join(np.array([[one, other]]))
    assert groups(*texts) == expected.smallest().tolist()
    monkeypatch.setattr("tasks.data.containment.BLOCK", 7)
    assert groups(*texts) == expected.smallest().tolist()
