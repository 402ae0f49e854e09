"""Near duplicates: a trifle makes no new text, and an answerable difference does."""

import itertools
import json
import random
from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data import duplicates, similar_sets
from tasks.data.duplicates import (
    OWN_SHARED,
    PHRASE_COUNT,
    PHRASE_SHARE,
    SHARED,
    Groups,
    join_near_duplicates,
    near_duplicates,
    standing_in,
    words_of,
)
from tasks.makers.skills import make_rows
from tasks.rows import prompt_of

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
    groups = Groups(6)
    join_near_duplicates(groups, texts)
    assert groups.smallest().tolist() == [0, 1, 0, 3, 0, 3]


def test_texts_without_a_word_are_the_same_when_their_signs_are():
    assert near_duplicates([("?!",), ("...",), (" ?!\n",), ("",), (" ",)]) == [(0, 2), (3, 4)]


def test_groups_follow_pairs_in_any_order():
    assert grouped(6, [(4, 5), (2, 4), (0, 5)]) == [0, 1, 0, 3, 0, 0]


def test_books_rows_have_six_pairs_that_differ_by_punctuation(shared_data):
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
    first = {}
    for place, text in enumerate(texts):
        words = tuple(map(words_of, text))
        if (earlier := first.setdefault(words, place)) != place:
            yield earlier, place
    pairs = [
        {
            (number, pair)
            for number, part in enumerate(words)
            if part
            for pair in zip(("", *part), (*part, ""), strict=True)
        }
        for words in first
    ]
    numbers = [[[word for word in part if word[0].isdigit()] for part in words] for words in first]
    counts = Counter(itertools.chain.from_iterable(pairs))
    most = max(PHRASE_COUNT, PHRASE_SHARE * len(first))
    own = [{pair for pair in each if counts[pair] <= most} for each in pairs]
    places = list(first.values())
    for one, other in itertools.combinations(range(len(places)), 2):
        if numbers[one] == numbers[other] and own[one] | own[other]:
            parts = {part for part, _ in pairs[one] | pairs[other]}
            in_parts = [
                [{pair for pair in pairs[x] if pair[0] == part} for x in (one, other)] for part in parts
            ]
            if (
                all(jaccard(*each) >= SHARED for each in in_parts)
                and jaccard(own[one], own[other]) >= OWN_SHARED
            ):
                yield places[one], places[other]


def jaccard(one, other):
    return len(one & other) / len(one | other)


def grouped(count, pairs):
    groups = Groups(count)
    groups.join(np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return groups.smallest().tolist()


LONG = st.lists(st.sampled_from(["a", "b", "c", "7"]), min_size=0, max_size=3).map(
    lambda tail: (" ".join([*STORY.split(), *tail]),)
)
SHORT = st.text("ab7 .", max_size=6).filter(words_of).map(lambda text: (text,))


def templated(seed, count):
    """Rows of a few templates whose slots few words fill, and copies of rows with a word or two altered."""
    draw = random.Random(seed)
    words, fillers = ([f"{kind}{chr(97 + n)}" for n in range(draw.choice([3, 8, 26]))] for kind in "wf")
    templates = [draw.choices([*words, None], k=draw.randint(3, 60)) for _ in range(draw.randint(1, 4))]
    texts = []
    for _ in range(count):
        if texts and draw.random() < 0.4:
            parts = [part.split() for part in draw.choice(texts)]
            altered = draw.choice(parts)
            for _ in range(draw.randint(1, 3)):
                place = draw.randint(0, len(altered))
                altered[place : place + draw.randint(0, 1)] = draw.choices(
                    [*words, "7"], k=draw.randint(0, 1)
                )
        else:
            filled = [[word or draw.choice(fillers) for word in draw.choice(templates)] for _ in range(2)]
            parts = filled if draw.random() < 0.3 else [filled[0], []]
        texts.append(tuple(" ".join(part) for part in parts))
    return [text for text in texts if any(map(words_of, text))]


TEMPLATED = st.builds(templated, st.integers(0, 2**32 - 1), st.integers(2, 120))
LIMITS = st.fixed_dictionaries(
    {
        (similar_sets, "COMPARED"): st.sampled_from([1, 2, 8, 48]),
        (similar_sets, "LOOPED"): st.sampled_from([1, 8, 1024]),
        (similar_sets, "ENTRIES"): st.sampled_from([500, 2**21]),
        (similar_sets, "PAIRS"): st.sampled_from([20, 2**18]),
        (similar_sets, "CHECKED"): st.sampled_from([10, 2**15]),
        (duplicates, "_BLOCK"): st.sampled_from([30, 1000, 2**22]),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(LONG | SHORT, max_size=9) | TEMPLATED, LIMITS)
def test_near_duplicates_are_found_whatever_the_block_size(texts, limits):
    """The limits bound memory; small ones make a few rows go every way that a million do."""
    expected = sorted(slowly(texts))
    patches = [patch.object(module, name, value) for (module, name), value in limits.items()]
    groups = Groups(len(texts))
    for each in patches:
        each.start()
    try:
        found = near_duplicates(texts)
        join_near_duplicates(groups, texts)
    finally:
        for each in patches:
            each.stop()
    assert found == expected
    assert groups.smallest().tolist() == grouped(len(texts), expected)


def test_texts_that_are_all_alike_are_compared_with_a_few_only(monkeypatch):
    """What others link is not looked at: of n alike there would be n * n / 2 pairs."""
    words = STORY.split()
    texts = [
        (" ".join([*words[:place], word, *words[place:]]),) for place in range(len(words)) for word in "abc"
    ]
    checked = []
    similar = similar_sets._Search._similar
    monkeypatch.setattr(similar_sets, "PAIRS", 200)
    monkeypatch.setattr(
        similar_sets._Search,
        "_similar",
        lambda self, left, right: checked.append(len(left)) or similar(self, left, right),
    )
    groups = Groups(len(texts))
    join_near_duplicates(groups, texts)
    assert groups.smallest().tolist() == grouped(len(texts), sorted(slowly(texts)))
    assert sum(checked) < len(texts) ** 2 / 8


@given(
    texts=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), max_size=8),
    words=st.lists(st.sampled_from("abc"), max_size=30),
)
def test_texts_that_stand_in_words_are_those_of_a_plain_search(texts, words):
    def stands(text):
        return any(words[at : at + len(text)] == text for at in range(len(words)))

    expected = {number for number, text in enumerate(texts) if stands(text)}
    assert standing_in(dict(enumerate(texts)), iter(words)) == expected
