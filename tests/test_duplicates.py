"""Near duplicates: a trifle makes no new text, and an answerable difference does."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.duplicates import OWN_SHARED, SHARED, groups_of, near_duplicates, words_of
from tasks.rows import prompt_of
from tasks.skills import make_rows

STORY = (
    "The old keeper of the lighthouse climbed its narrow stairs every evening before the sun went down and "
    "lit the great lamp so that ships which passed the rocks at night would see where the harbour began"
)


@pytest.mark.parametrize(
    "other",
    [
        STORY.upper(),
        STORY.replace(" ", "  ") + "\n",
        STORY.replace("evening", "evening,") + ".",
        f"“{STORY}”",
        STORY.replace("climbed", "slowly climbed"),
        STORY.replace("great ", ""),
    ],
)
def test_a_trifle_makes_no_new_text(other):
    assert near_duplicates([(STORY,), (other,)]) == [(0, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Add 12 and 35", "Add 12 and 36"),
        ("What is 3 + 5?", "What is 3 - 5?"),
        ("Round 1.5 up", "Round 15 up"),
        ("apple, river, stone, cloud", "cloud, stone, river, apple"),
        ("Which is larger, 12 or 35?", "Which is larger, 35 or 12?"),
        ("Explain C", "Explain C++"),
        ("不要去", "要去"),
        (f"{STORY} in 1890", f"{STORY} in 1891"),
        (STORY, " ".join(reversed(STORY.split()))),
        ("!!!", "???"),
        ("", "!!!"),
    ],
)
def test_what_asks_for_another_answer_is_another_text(one, other):
    assert near_duplicates([(one,), (other,)]) == []


def test_parts_are_compared_each_on_its_own():
    """A long instruction that all rows share makes no two rows the same."""
    texts = [(STORY, "Yes."), (STORY, "No."), (STORY, "yes"), ("Yes.", STORY)]
    assert near_duplicates(texts) == [(0, 2)]


def test_texts_of_one_template_are_not_each_others_duplicates():
    """Only the one word is theirs: the rest stands in every text."""
    words = [f"{one}{other}" for one, other in itertools.product("bdfgklm", "aeiou")]
    assert near_duplicates([(f"{STORY} and sang of {word}",) for word in words]) == []


def test_every_copy_is_led_to_the_first():
    texts = [("a b",), ("x",), ("A b!",), (STORY,), ("a  b",), (STORY + " now",)]
    assert near_duplicates(texts) == [(0, 2), (0, 4), (3, 5)]
    assert groups_of(6, near_duplicates(texts)) == [0, 1, 0, 3, 0, 3]


def test_texts_without_a_word_are_the_same_when_their_signs_are():
    assert near_duplicates([("?!",), ("...",), (" ?!\n",), ("",), (" ",)]) == [(0, 2), (3, 4)]


def test_groups_follow_pairs_in_any_order():
    assert groups_of(6, [(4, 5), (2, 4), (0, 5)]) == [0, 1, 0, 3, 0, 0]


def test_the_books_rows_have_six_pairs_that_differ_by_punctuation_alone(shared_data):
    found = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    pairs = near_duplicates([(row["instruction"], row["input"]) for row in found])
    near = [pair for pair in pairs if prompt_of(found[pair[0]]) != prompt_of(found[pair[1]])]
    assert len(pairs) - len(near) == 1100 - 1075
    assert len(near) == 6
    for one, other in near:
        assert words_of(found[one]["instruction"]) == words_of(found[other]["instruction"])


def test_made_skills_hold_no_near_duplicate():
    assert near_duplicates([(row["instruction"], row["input"]) for row in make_rows(3000, 123)]) == []


def slowly(texts):
    """Every two texts compared, as the docstring of the module says it."""
    words = [words_of(text) for (text,) in texts]
    pairs = [set(zip(("", *each), (*each, ""), strict=True)) if each else set() for each in words]
    numbers = [[word for word in each if word[0].isdigit()] for each in words]
    for one, other in itertools.combinations(range(len(texts)), 2):
        if words[one] == words[other] and words[one]:
            yield one, other
        elif numbers[one] == numbers[other] and pairs[one] and pairs[other]:
            shared = len(pairs[one] & pairs[other]) / len(pairs[one] | pairs[other])
            if shared >= max(SHARED, OWN_SHARED):  # of so few texts none makes a turn of phrase
                yield one, other


LONG = st.lists(st.sampled_from(["a", "b", "c", "7"]), min_size=0, max_size=3).map(
    lambda tail: (" ".join([*STORY.split(), *tail]),)
)
SHORT = st.text("ab7 .", max_size=6).filter(words_of).map(lambda text: (text,))


@given(st.lists(LONG | SHORT, max_size=9))
def test_no_pair_is_missed(texts):
    expected = groups_of(len(texts), slowly(texts))
    assert groups_of(len(texts), near_duplicates(texts)) == expected
