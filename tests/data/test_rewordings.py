"""Rewordings: the same question in other words is found, another question is not, however many there are."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import rewordings
from tasks.data.duplicates import Groups, words_of
from tasks.data.rewordings import AROUND, LONGEST, join_rewordings


def traces(prompt, answer, around=AROUND):
    """The rule row by row: two prompts are rewordings when they have a trace in common."""
    said = words_of(answer) or (answer.strip(),)
    parts = [words_of(part) for part in prompt]
    if sum(map(len, parts)) >= rewordings.CONTENT:  # the same but for politeness, of which these have none
        yield "polite", tuple(parts)
    if rewordings.TWO_FROM <= sum(map(len, parts)) <= rewordings.TWO_TO:
        words = [(place, word) for place, part in enumerate(parts) for word in part]
        for count in (len(words), len(words) - 1, len(words) - 2):
            for left in combinations(words, count):
                yield said, "two", len(parts), left
    if any(len(part) >= around for part in parts):
        yield tuple(sorted(said)), tuple(tuple(sorted(part)) for part in parts)
    for place, part in enumerate(parts):
        others = said, place, tuple(parts[:place]), tuple(parts[place + 1 :])
        for position in range(len(part)):  # one word replaced there, or left out
            if len(part) > around:
                yield others, position, (*part[:position], *part[position + 1 :])
        for position in range(len(part) + 1):  # or put in
            if len(part) >= around:
                yield others, position, part


def groups(*rows):
    """For each (prompt, answer) the first that it is a rewording of."""
    found = Groups(len(rows))
    prompts = [(prompt,) if isinstance(prompt, str) else prompt for prompt, _ in rows]
    join_rewordings(found, prompts, [answer for _, answer in rows])
    return found.smallest().tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain recursion", "Please explain recursion"),
        ("Explain recursion please", "Explain RECURSION."),
        ("Is gold a tool or a metal?", "Is gold a metal or a tool?"),
        ("Anna carries the red book to the market", "Anna carries the red lamp to the market"),
        ("30 or 27", "30 or 12"),
        ("Call 09061701461 to claim your prize", "Call 09061701939 to claim your prize"),
        ("Cafe\u0301 or tea first", "Café or tea first"),
        ("Ｗｈａｔ is it", "What is it"),
        ("What is\u200b it", "What is it"),
    ],
)
def test_the_same_question_in_other_words_is_found(one, other):
    assert groups((one, "an answer"), (other, "an answer")) == [0, 0]
    assert groups((other, "an answer"), (one, "an answer")) == [0, 0]


@pytest.mark.parametrize(
    "asked",
    [
        "Please explain recursion",
        "Could you explain recursion, please?",
        "Explain the recursion for me.",
        "Kindly explain RECURSION, thanks!",
        "Bitte explain recursion",
    ],
)
def test_pitfall_27_politeness_makes_no_new_question(asked):
    assert groups(("Explain recursion", "It calls itself."), (asked, "A function in terms of itself.")) == [
        0,
        0,
    ]


@pytest.mark.parametrize("rest", ["", "Write", "Explain iteration", "Explain recursion in C"])
def test_pitfall_27_rest_without_politeness_needs_several_words(rest):
    assert groups((f"{rest} please", "x"), ("Explain recursion", "y"), ("please write", "z")) == [0, 1, 2]


@pytest.mark.parametrize(
    "other",
    [
        "the cat sat in the mat all night",  # two replaced
        "the cat sat on the mat all the long day",  # two put in
        "the cat sat on the all day",  # one left out, one replaced
        "sat the cat on the mat day all",  # two moved
    ],
)
def test_pitfall_27_two_words_make_no_new_question_of_eight(other):
    one = "the cat sat on the mat all day"
    assert groups((one, "x"), (other, "x")) == [0, 0]
    assert groups((one, "x"), (other, "y")) == [0, 1]


def test_pitfall_27_labelled_text_with_other_numbers_is_the_same():
    found, texts = (
        Groups(2),
        ["Call 0906 now to claim 500 pounds by 12:30", "Call 0871 now to claim 900 pounds by 8"],
    )
    join_rewordings(found, [(text,) for text in texts], ["spam"] * 2, labelled=True)
    assert found.smallest().tolist() == [0, 0]
    assert groups((texts[0], "spam"), (texts[1], "spam")) == [0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Add 12 and 35", "47"), ("Add 12 and 36", "48")),
        (("the small pillow", "the big pillow"), ("the big pillow", "the small pillow")),
        (("great film", "positive"), ("good film", "positive")),  # one word around is too little
        (("a b c d", "x"), ("a x c y", "x")),  # two words
        (("a b c d", "x"), ("a c d e b", "x")),  # one moved and one put in
        (("", "x"), ("a", "x")),
    ],
)
def test_another_question_is_not(one, other):
    assert groups(one, other) == [0, 1]


def test_a_word_may_differ_in_one_part_alone():
    one, other = ("What is it?", "a red fox here"), ("What was it?", "a red hen here")
    assert groups((one, "x"), (other, "x")) == [0, 1]
    assert groups((one, "x"), ((one[0], other[1]), "x"), (other, "x")) == [0, 0, 0]  # by way of another


def test_the_mark_between_parts_is_no_word():
    assert groups((("a b c", "d e"), "x"), (("a b c d", "e"), "x")) == [0, 1]


def test_what_has_no_answer_is_no_rewording():
    assert groups(("one two three", None), ("one two four", None), ("one two five", "x")) == [0, 1, 2]


def test_answers_are_compared_as_words_and_bare_signs_as_is():
    assert groups(("a b c", "It is."), ("a b d", "it is")) == [0, 0]
    assert groups(("a b c", ":)"), ("a b d", ":(")) == [0, 1]


def test_texts_with_a_label_need_more_words_around():
    found = Groups(4)
    texts = ["I love it", "I love this", "I love it more than all", "I love it less than all"]
    join_rewordings(found, [(text,) for text in texts], ["good"] * 4, labelled=True)
    assert found.smallest().tolist() == [0, 1, 2, 2]


def test_a_long_prompt_is_left_to_the_rule_for_long_texts():
    words = " ".join("a" * number for number in range(1, LONGEST))
    assert groups((f"{words} one", "x"), (f"{words} two", "x")) == [0, 0]
    assert groups((f"{words} and one", "x"), (f"{words} and two", "x")) == [0, 1]


WORDS = st.lists(st.sampled_from("b c d".split()), max_size=4).map(" ".join)


@given(st.lists(st.tuples(st.tuples(WORDS, WORDS), st.sampled_from(["x", "y z", "z y"])), max_size=12))
@pytest.mark.parametrize("at_once", [2**20, 16], ids=["whole", "in-pieces"])
def test_exactly_the_rows_that_share_a_trace_are_joined(at_once, rows):
    """The search over hashes, of all rows or some at a time, against the rule row by row."""
    by_trace = defaultdict(list)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewordings, "TWO_FROM", 5)
        patch.setattr(rewordings, "TWO_TO", 7)
        for place, (prompt, answer) in enumerate(rows):
            for trace in traces(prompt, answer):
                by_trace[trace].append(place)
        expected = Groups(len(rows))
        for places in by_trace.values():
            for place in places[1:]:
                expected.join(np.array([[places[0], place]]))
        for name in ("_BLOCK", "_ENTRIES", "_CHECKED"):
            patch.setattr(rewordings, name, at_once)
        assert groups(*rows) == expected.smallest().tolist()


@given(st.lists(st.tuples(WORDS, st.sampled_from(["x", "y"])), min_size=2, max_size=2))
def test_a_trace_is_shared_where_one_word_or_the_order_differs(rows):
    """The rule against its words: comparing two texts by trying every change of one word."""
    (one, answer), (other, other_answer) = rows
    a, b = words_of(one), words_of(other)
    changes = {(*a[:i], *a[i + 1 :]) for i in range(len(a)) if len(a) > AROUND}
    shorter = b in changes or a in {(*b[:i], *b[i + 1 :]) for i in range(len(b)) if len(b) > AROUND}
    replaced = len(a) == len(b) > AROUND and sum(x != y for x, y in zip(a, b, strict=True)) <= 1
    reordered = sorted(a) == sorted(b) and len(a) >= AROUND
    alike = answer == other_answer and (shorter or replaced or reordered)
    shared = set(traces((one,), answer)) & set(traces((other,), other_answer))
    assert bool(shared) == (alike or (a == b and len(a) >= rewordings.CONTENT))
