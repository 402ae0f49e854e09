"""The made instruction rows: every prompt new, every answer right, the same rows for the same seed."""

import re
from collections import Counter

import pytest

from tasks.data.duplicates import words_of
from tasks.errors import StageError
from tasks.makers import skills
from tasks.makers.skills import FAMILIES, make_rows

FIRST = [
    {
        "instruction": "Rewrite the phrase with the opposite adjective.",
        "input": "the small pillow",
        "output": "the big pillow",
        "category": "opposite",
    },
    {
        "instruction": "Change the sentence to the past tense.",
        "input": "They paint the river with David.",
        "output": "They painted the river with David.",
        "category": "past tense",
    },
    {
        "instruction": "What is each of the two?",
        "input": "Spain and tin",
        "output": "Spain is a country and tin is a metal.",
        "category": "kind",
    },
    {
        "instruction": "Which number is larger?",
        "input": "45 or 31",
        "output": "45 is larger than 31.",
        "category": "larger number",
    },
    {
        "instruction": "On which day does the parcel arrive?",
        "input": "Boris sends a forest to the harbour on Wednesday. It arrives one day later.",
        "output": "The forest from Boris arrives on Thursday.",
        "category": "day",
    },
    {
        "instruction": "Where is the village?",
        "input": "Karla carries the heavy village to the theatre.",
        "output": "The heavy village is at the theatre.",
        "category": "where",
    },
    {
        "instruction": "Give the first and the last word of the list.",
        "input": "forest, apple, rocket, garden",
        "output": "forest and garden",
        "category": "first and last word",
    },
]


@pytest.fixture(scope="module")
def made():
    return make_rows(3000, seed=123)


def of(made, category):
    members = [row for row in made if row["category"] == category]
    assert len(members) >= 250
    return members


def test_no_two_rows_share_a_prompt_even_in_other_letters(made):
    prompts = {(row["instruction"].casefold(), row["input"].casefold()) for row in made}
    assert len(prompts) == len(made) == 3000


def test_every_row_has_text_where_text_is_due(made):
    for row in made:
        assert set(row) == {"instruction", "input", "output", "category"}
        assert row["instruction"].strip() == row["instruction"] != ""
        assert row["output"].strip() == row["output"] != ""


def test_seed_decides_the_rows(made):
    assert make_rows(3000, seed=123) == made
    assert make_rows(70, seed=123) == made[:70]
    assert make_rows(70, seed=124) != made[:70]


def test_the_first_rows_of_a_seed_are_these_literals(made):
    assert made[: len(FAMILIES)] == FIRST


def test_the_families_take_turns(made):
    assert [row["category"] for row in made[:700]] == list(FAMILIES) * 100


def test_the_categories_stay_balanced_when_one_family_runs_dry():
    counts = Counter(row["category"] for row in make_rows(5900, seed=123))
    small = [counts.pop(name) for name in ("kind", "larger number")]
    assert all(740 <= count <= 780 for count in small)  # pairs of 40 words, of 40 numbers
    assert max(counts.values()) - min(counts.values()) <= 1


def test_impossible_rows_are_an_error_not_a_shorter_list(monkeypatch):
    monkeypatch.setattr(skills, "FAMILIES", {"kind": FAMILIES["kind"]})
    with pytest.raises(ValueError, match=r"the skills have only 7\d\d distinct rows; 800 were asked for"):
        make_rows(800, seed=1)


def test_a_source_that_asks_for_too_many_rows_is_told_so(monkeypatch, stage_run):
    from tasks.config import DownloadConfig
    from tasks.download.stage import download

    monkeypatch.setattr(skills, "FAMILIES", {"kind": FAMILIES["kind"]})
    config = DownloadConfig(sources=[{"made": "skills", "count": 800}])
    with pytest.raises(StageError, match=r"skills\.jsonl: the skills have only 7\d\d .* Ask for fewer"):
        download(config, stage_run())


def test_rows_that_reword_each_other_would_not_be_returned(monkeypatch):
    """Two families of the same kind, whose rows are each new among their own alone."""
    monkeypatch.setattr(skills, "FAMILIES", {"a": FAMILIES["kind"], "b": FAMILIES["kind"]})
    with pytest.raises(AssertionError, match=r"row .* asks what row .* asks"):
        make_rows(500, seed=1)


def test_no_question_of_any_split_asks_what_another_row_asks(made):
    """Compared pair by pair, within a family: one word apart or in another order, with the same answer."""
    for category in FAMILIES:
        seen = {}
        for row in of(made, category):
            words = words_of(f"{row['instruction']} | {row['input']}")
            said = words_of(row["output"])
            without = ((*words[:i], *words[i + 1 :], i, said) for i in range(len(words)))
            for alike in ((sorted(words), sorted(said)), *without):
                assert seen.setdefault(str(alike), row) is row, (row, seen[str(alike)])


def test_no_answer_is_given_twice_nor_asked_about(made):
    """In whatever order of its words: no combination of a test row was trained on, forwards or backwards."""
    seen = set()
    for row in made:
        own = {tuple(sorted(words_of(row[field]))) for field in ("input", "output")}
        assert seen.isdisjoint(own), row
        seen |= own


# Every answer, computed a second time from the prompt alone

OPPOSITE = {}
for pair in (
    "hot cold, big small, fast slow, early late, open closed, full empty, light dark, high low, hard soft, "
    "young old, rich poor, strong weak, wide narrow, happy sad, clean dirty, deep shallow, loud quiet, "
    "long short, wet dry, near far, sweet bitter, thick thin, true false, first last, smooth rough"
).split(", "):
    one, other = pair.split()
    OPPOSITE |= {one: other, other: one}

PAST = {
    "walk": "walked",
    "go": "went",
    "see": "saw",
    "buy": "bought",
    "find": "found",
    "make": "made",
    "write": "wrote",
    "take": "took",
    "paint": "painted",
    "open": "opened",
    "sell": "sold",
    "bring": "brought",
    "draw": "drew",
    "lose": "lost",
    "clean": "cleaned",
    "hold": "held",
}

KIND = {
    "an animal": {"horse", "tiger", "rabbit", "donkey", "goat", "camel", "wolf", "otter"},
    "a fruit": {"pear", "plum", "cherry", "banana", "grape", "lemon", "peach", "melon"},
    "a tool": {"saw", "wrench", "drill", "chisel", "pliers", "shovel", "axe", "file"},
    "a country": {"Spain", "Norway", "Japan", "Brazil", "Kenya", "Canada", "Chile", "Poland"},
    "a metal": {"copper", "silver", "tin", "zinc", "lead", "nickel", "gold", "cobalt"},
}

NEXT_DAY = {
    "Monday": "Tuesday",
    "Tuesday": "Wednesday",
    "Wednesday": "Thursday",
    "Thursday": "Friday",
    "Friday": "Saturday",
    "Saturday": "Sunday",
    "Sunday": "Monday",
}


def test_opposites(made):
    for row in of(made, "opposite"):
        the, adjective, noun = row["input"].split()
        assert row["instruction"] == "Rewrite the phrase with the opposite adjective."
        assert row["output"] == f"{the} {OPPOSITE[adjective]} {noun}"


def test_past_tense(made):
    for row in of(made, "past tense"):
        they, verb, rest = row["input"].split(" ", 2)
        assert row["instruction"] == "Change the sentence to the past tense."
        assert row["output"] == f"{they} {PAST[verb]} {rest}"


def test_kinds(made):
    for row in of(made, "kind"):
        first, second = row["input"].split(" and ")
        assert first != second
        assert row["instruction"] == "What is each of the two?"
        kinds = {word: kind for kind, words in KIND.items() for word in words}
        assert row["output"] == f"{first} is {kinds[first]} and {second} is {kinds[second]}."


def test_larger_numbers(made):
    for row in of(made, "larger number"):
        first, second = sorted(int(number) for number in row["input"].split(" or "))
        assert first < second
        assert row["instruction"] == "Which number is larger?"
        assert row["output"] == f"{second} is larger than {first}."


def test_days(made):
    for row in of(made, "day"):
        name, noun, sent = re.fullmatch(
            r"(\w+) sends an? (\w+) to the \w+ on (\w+)\. It arrives one day later\.", row["input"]
        ).groups()
        assert row["instruction"] == "On which day does the parcel arrive?"
        assert row["output"] == f"The {noun} from {name} arrives on {NEXT_DAY[sent]}."


def test_places(made):
    for row in of(made, "where"):
        what, noun, place = re.fullmatch(r"\w+ carries the (\w+ (\w+)) to the (\w+)\.", row["input"]).groups()
        assert row["instruction"] == f"Where is the {noun}?"
        assert row["output"] == f"The {what} is at the {place}."


def test_first_and_last_words(made):
    for row in of(made, "first and last word"):
        words = row["input"].split(", ")
        assert len(set(words)) == 4
        assert row["instruction"] == "Give the first and the last word of the list."
        assert row["output"] == f"{words[0]} and {words[3]}"


def test_every_family_is_recomputed_above():
    assert set(FAMILIES) == {
        "opposite",
        "past tense",
        "kind",
        "larger number",
        "day",
        "where",
        "first and last word",
    }
