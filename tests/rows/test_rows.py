"""Rows: nothing tested was trained on, nothing lost, every label has its share."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.config import RowsConfig
from tasks.errors import RefusedError, StageError
from tasks.preflight.splits import rows_apart
from tasks.rows import SPLITS, load_groups, load_split, prompt_groups, prompt_of, rows, texts_of, write_rows
from tasks.rows.canonical import as_continuation, is_splittable
from tasks.rows.splits import split_rows

SMS = {"file_type": "tsv", "header": ("label", "text")}


def row_of(number, prompt=None):
    instruction = f"Question {number if prompt is None else prompt}"
    return {"id": number, "instruction": instruction, "input": "", "output": f"Answer {number}"}


def labelled(*pairs):
    return [{"id": n, "text": f"Text {text}", "label": label} for n, (label, text) in enumerate(pairs)]


def prompts(members):
    return {prompt_of(row) for row in members}


def ids(members):
    return [row["id"] for row in members]


def assert_apart(parted):
    """No prompt is in two places; what was left out is trained on."""
    places = [parted.splits["train"] + parted.left_out, parted.splits["validation"], parted.splits["test"]]
    for number, one in enumerate(places):
        for other in places[:number]:
            assert not prompts(one) & prompts(other)


@pytest.fixture
def real(shared_data, tmp_path):
    """A folder with one of the real files."""

    def make(name):
        folder = tmp_path / "in"
        folder.mkdir()
        (folder / name).write_bytes((shared_data / name).read_bytes())
        return folder

    return make


@pytest.fixture
def given_rows(tmp_path, stage_run):
    """Run the stage on one JSON file of these rows."""

    def make(records, name="a.json", **config):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / name).write_text(json.dumps(records), encoding="utf-8")
        run = stage_run()
        rows(RowsConfig(**config), run, source=tmp_path / "in")
        return run

    return make


def counts_of(run):
    return json.loads((run.out / "rows.json").read_text(encoding="utf-8"))


# The real data


def test_pitfall_2_books_unshuffled_split_leaks_six_rows(real, stage_run):
    run = stage_run()
    rows(RowsConfig(shuffle=False), run, source=real("instruction-data.json"))
    assert counts_of(run) == {
        "read": 1100,
        "kind": "completion",
        "formats": {"alpaca": 1100},
        "distinct_prompts": 1075,
        "splits": {"train": 935, "validation": 55, "test": 110},
        "splits_are": "drawn",
        "moved": {"test": 2, "validation": 4},
        "near": {"test": 0, "validation": 0},
        "source": {"test": 0, "validation": 0},
        "set_aside": 0,
        "left_out": 0,
    }
    assert run.metrics == {
        "rows": 1100,
        "train_rows": 935,
        "validation_rows": 55,
        "test_rows": 110,
        "leaks_moved_from_test": 2,
        "leaks_moved_from_validation": 4,
        "rows_set_aside": 0,
        "rows_left_out": 0,
    }
    splits = {name: load_split(run.out, name) for name in SPLITS}
    assert sorted(row["id"] for members in splits.values() for row in members) == list(range(1100))
    assert not prompts(splits["test"]) & prompts(splits["train"] + splits["validation"])
    assert not prompts(splits["validation"]) & prompts(splits["train"])
    assert sorted(path.name for path in run.out.iterdir()) == [
        "groups.json",
        "rows.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_pitfall_2_no_seed_leaks_a_real_row_exactly_or_nearly(real, stage_run, seed):
    run = stage_run()
    rows(RowsConfig(seed=seed), run, source=real("instruction-data.json"))
    splits = {name: load_split(run.out, name) for name in SPLITS}
    assert counts_of(run)["splits"] == {"train": 935, "validation": 55, "test": 110}
    assert [result.verdict for result in rows_apart(splits)] == ["passed"] * 3
    members = [row for found in splits.values() for row in found]
    together = {}
    for row, group in zip(members, prompt_groups(members), strict=True):
        together.setdefault(group, set()).add(row["id"])
    assert sorted(map(sorted, load_groups(run.out).prompts)) == sorted(
        sorted(ids) for ids in together.values() if len(ids) > 1
    )


def test_six_of_the_books_preferences_prefer_nothing(real, stage_run):
    run = stage_run()
    folder = real("instruction-data-with-preference.json")
    with pytest.raises(StageError, match="row 123: 'chosen' and 'rejected' are the same"):
        rows(RowsConfig(), run, source=folder)
    rows(RowsConfig(malformed="set-aside"), run, source=folder)
    counts = counts_of(run)
    assert (counts["read"], counts["set_aside"], counts["kind"]) == (1100, 6, "preference")
    assert counts["formats"] == {"preference": 1094}
    assert sum(counts["splits"].values()) == 1094
    assert set(load_split(run.out, "test")[0]) == {"id", *"instruction input output chosen rejected".split()}


def test_pitfall_1_all_5574_messages_are_read_from_the_archive(real, stage_run):
    run = stage_run()
    rows(RowsConfig(**SMS), run, source=real("sms+spam+collection.zip"))
    counts = counts_of(run)
    assert (counts["read"], counts["labels"]) == (5574, {"ham": 4827, "spam": 747})
    assert counts["split_labels"] == {
        "train": {"ham": 4103, "spam": 635},
        "validation": {"ham": 241, "spam": 37},
        "test": {"ham": 483, "spam": 75},
    }
    assert counts["moved"]["test"] > 0
    found = {name: load_split(run.out, name) for name in SPLITS}
    assert sorted(row["id"] for members in found.values() for row in members) == list(range(5574))
    assert not prompts(found["test"]) & prompts(found["train"] + found["validation"])
    assert list(run.checkpoint.iterdir()) == []


def test_pitfall_1_stray_quotes_are_an_error_and_merge_no_rows(real, stage_run):
    with pytest.raises(StageError, match=r"SMSSpamCollection, row 283 \(line 283\): its quotes are wrong"):
        rows(RowsConfig(**SMS, quoting="quotes"), stage_run(), source=real("sms+spam+collection.zip"))


def test_balanced_messages_are_equally_many_and_rest_untested(real, stage_run):
    run = stage_run()
    rows(RowsConfig(**SMS, balance=True), run, source=real("sms+spam+collection.zip"))
    counts = counts_of(run)
    assert counts["split_labels"] == {
        "train": {"ham": 635, "spam": 635},
        "validation": {"ham": 37, "spam": 37},
        "test": {"ham": 75, "spam": 75},
    }
    assert counts["left_out"] == 5574 - 2 * 747
    left_out = load_split(run.out, "left_out")
    assert len(left_out) == counts["left_out"]
    kept_apart = {"train": left_out} | {name: load_split(run.out, name) for name in ("validation", "test")}
    assert groups_in_several(kept_apart) == []
    assert sum(1 for _ in texts_of(run.out)) == 635 * 2 + len(left_out)


def groups_in_several(splits):
    names = [name for name, found in splits.items() for _ in found]
    groups = prompt_groups([row for found in splits.values() for row in found])
    found = {}
    for name, group in zip(names, groups, strict=True):
        found.setdefault(group, set()).add(name)
    return [group for group, within in found.items() if len(within) > 1]


# Splits of whatever rows

FRACTIONS = st.tuples(st.floats(0.05, 0.9), st.floats(0, 0.9)).filter(lambda pair: sum(pair) < 0.99)
SEEDS = st.integers(0, 2**32 - 1)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), FRACTIONS, st.booleans(), SEEDS)
def test_splits_hold_every_row_once_and_no_prompt_twice(questions, shares, shuffle, seed):
    found = [row_of(number, prompt) for number, prompt in enumerate(questions)]
    config = RowsConfig(train=shares[0], validation=shares[1], shuffle=shuffle, seed=seed)
    try:
        parted = split_rows(found, config)
    except RefusedError:  # what can be tested is smaller than what is left to train on
        most = sorted(Counter(questions).values())
        assert len(most) == 1 or most[0] * 2 >= len(questions) - most[0]
        return
    assert list(parted.splits) == list(SPLITS)
    assert sorted(row["id"] for members in parted.splits.values() for row in members) == list(
        range(len(found))
    )
    assert all(row == found[row["id"]] for members in parted.splits.values() for row in members)
    assert parted.splits["train"]
    assert parted.splits["test"]
    assert parted.near == {"test": 0, "validation": 0}
    assert_apart(parted)


@given(st.lists(st.integers(0, 40), min_size=20, max_size=60), SEEDS)
def test_splits_keep_their_sizes_where_enough_is_asked_only_once(questions, seed):
    questions += range(100, 160)
    found = [row_of(number, prompt) for number, prompt in enumerate(questions)]
    splits, _, moved, *_ = split_rows(found, RowsConfig(seed=seed, train=0.8, validation=0.1))
    order = list(range(len(found)))
    random.Random(seed).shuffle(order)
    train, validation = round(len(found) * 0.8), round(len(found) * 0.1)
    tested = order[train : len(found) - validation]
    elsewhere = {questions[place] for place in order if place not in tested}
    assert moved["test"] == sum(questions[place] in elsewhere for place in tested)
    assert {name: len(members) for name, members in splits.items()} == {
        "train": train,
        "validation": validation,
        "test": len(found) - train - validation,
    }


@given(st.lists(st.integers(0, 30), min_size=20, max_size=40, unique=True), SEEDS)
def test_nothing_moves_where_nothing_leaks(questions, seed):
    found = [row_of(number, prompt) for number, prompt in enumerate(questions)]
    splits, _, moved, *_ = split_rows(found, RowsConfig(seed=seed))
    order = list(found)
    random.Random(seed).shuffle(order)
    assert moved == {"test": 0, "validation": 0}
    assert [*splits["train"], *splits["test"], *splits["validation"]] == order


def test_split_is_decided_by_the_seed():
    found = [row_of(number, number // 2 if number < 20 else None) for number in range(100)]
    assert split_rows(found, RowsConfig(seed=1)) == split_rows(found, RowsConfig(seed=1))
    assert split_rows(found, RowsConfig(seed=1)) != split_rows(found, RowsConfig(seed=2))


def test_the_split_of_a_seed_is_this_literal():
    found = [row_of(number) for number in range(10)]
    splits = split_rows(found, RowsConfig(train=0.6, validation=0.2, seed=123)).splits
    assert {name: ids(members) for name, members in splits.items()} == {
        "train": [8, 7, 5, 9, 2, 3],
        "validation": [4, 0],
        "test": [6, 1],
    }


def test_leaking_rows_move_to_train_and_unique_ones_replace_them():
    found = [row_of(number, prompt) for number, prompt in enumerate([0, 1, 2, 3, 4, 0, 5, 1, 6, 7])]
    splits, _, moved, *_ = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert moved == {"test": 2, "validation": 0}
    assert {name: ids(members) for name, members in splits.items()} == {
        "train": [0, 1, 2, 5, 7],  # 5 and 7 ask what 0 and 1 ask
        "validation": [8, 9],
        "test": [6, 4, 3],
    }


def test_where_every_prompt_is_asked_twice_both_rows_are_tested():
    found = [row_of(number, number % 10) for number in range(20)]
    splits, _, moved, *_ = split_rows(found, RowsConfig(train=0.7, validation=0.1, shuffle=False))
    assert moved == {"test": 4, "validation": 2}
    assert {name: len(members) for name, members in splits.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }
    assert all(len(prompts(members)) * 2 == len(members) for members in splits.values())


def test_oversized_group_is_tested_rather_than_nothing():
    found = [row_of(number, number // 3) for number in range(12)]
    splits, _, moved, *_ = split_rows(found, RowsConfig(train=0.9, validation=0))
    assert (moved["test"], len(splits["test"]), len(prompts(splits["test"]))) == (1, 3, 1)


def test_only_row_that_can_be_tested_is_not_kept_for_validation():
    found = [row_of(number, prompt) for number, prompt in enumerate([0, 0, 0, 1])]
    splits = split_rows(found, RowsConfig(train=0.5, validation=0.25, shuffle=False)).splits
    assert {name: ids(members) for name, members in splits.items()} == {
        "train": [0, 1, 2],
        "validation": [],
        "test": [3],
    }


def test_near_duplicates_leak_too_and_are_counted_apart():
    found = [row_of(number, f"{'abcdefghij'[number]}?") for number in range(10)]
    found[5]["instruction"] = "Question 'a'!"  # nearly what 0 asks
    found[6]["instruction"] = "question  b?"  # what 1 asks
    parted = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert (parted.moved, parted.near) == ({"test": 2, "validation": 0}, {"test": 1, "validation": 0})
    assert parted.alike.prompts == [[0, 5], [1, 6]]
    assert {name: ids(members) for name, members in parted.splits.items()} == {
        "train": [0, 1, 2, 5, 6],
        "validation": [8, 9],
        "test": [7, 4, 3],
    }


def test_validation_row_nearly_like_a_test_row_is_left_out():
    found = [row_of(number, "abcdefghij"[number]) for number in range(10)]
    found[9]["instruction"] = "Question: g."
    parted = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert (parted.moved, parted.near) == ({"test": 1, "validation": 1}, {"test": 1, "validation": 1})
    assert {6, 9} <= set(ids(parted.splits["train"]))


def test_rows_that_all_ask_the_same_leave_nothing_to_test_on():
    found = [row_of(number, "same") for number in range(20)]
    with pytest.raises(RefusedError, match="of 20 rows none is left to test on: 2 test rows were moved out"):
        split_rows(found, RowsConfig())


def test_a_single_row_is_refused():
    with pytest.raises(RefusedError, match="of 1 rows none is left to test on"):
        split_rows([row_of(0)], RowsConfig())


def test_of_two_rows_one_is_tested():
    splits = split_rows([row_of(0), row_of(1)], RowsConfig()).splits
    assert {name: len(members) for name, members in splits.items()} == {
        "train": 1,
        "validation": 0,
        "test": 1,
    }


@pytest.mark.parametrize(
    "shares", [{"train": 0.9, "validation": 0.1}, {"train": 0.0}, {"train": 0.6, "validation": 0.6}]
)
def test_shares_that_leave_no_test_or_training_rows_are_refused(shares):
    with pytest.raises(ValidationError, match="must leave rows for the test split"):
        RowsConfig(**shares)


# Labels

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), min_size=2, max_size=120)


@given(LABELS, FRACTIONS, st.booleans(), st.booleans(), SEEDS)
def test_labelled_rows_are_each_in_one_place_and_no_text_in_two(pairs, shares, shuffle, balance, seed):
    found = labelled(*pairs)
    config = RowsConfig(train=shares[0], validation=shares[1], shuffle=shuffle, balance=balance, seed=seed)
    try:
        parted = split_rows(found, config)
    except (RefusedError, StageError):
        return
    places = [*parted.splits.values(), parted.left_out]
    assert sorted(row["id"] for members in places for row in members) == list(range(len(found)))
    assert_apart(parted)
    assert {row["label"] for row in parted.splits["test"]} == {label for label, _ in pairs}
    if balance:
        drawn = Counter(row["label"] for members in parted.splits.values() for row in members)
        assert set(drawn.values()) == {min(Counter(label for label, _ in pairs).values())}


@given(st.lists(st.integers(10, 60), min_size=2, max_size=4), FRACTIONS, SEEDS)
def test_every_split_has_its_share_of_every_label(sizes, shares, seed):
    found = labelled(
        *[(f"l{label}", f"{label} {n}") for label, size in enumerate(sizes) for n in range(size)]
    )
    splits = split_rows(found, RowsConfig(train=shares[0], validation=shares[1], seed=seed)).splits
    wanted = dict(zip(SPLITS, (*shares, 1 - sum(shares)), strict=True))
    for label, size in enumerate(sizes):
        for name, share in wanted.items():
            count = sum(row["label"] == f"l{label}" for row in splits[name])
            assert abs(count - size * share) <= 1.5  # two roundings, or a row for a split that needs one


def test_tested_text_that_leaks_is_replaced_by_one_of_its_label():
    found = labelled(*[("ab"[n % 2], n) for n in range(40)])
    found[30]["text"], found[31]["text"] = found[0]["text"], f"{found[1]['text']}!"
    parted = split_rows(found, RowsConfig(train=0.5, validation=0, shuffle=False))
    assert (parted.moved["test"], parted.near["test"]) == (2, 1)
    assert ids(parted.splits["test"])[-2:] == [19, 18]
    assert Counter(row["label"] for row in parted.splits["test"]) == {"a": 10, "b": 10}


def test_a_text_with_two_labels_takes_no_tested_texts_place():
    unique = [("a", 20), ("b", 21), ("a", 22), ("b", 23)]
    twice = [pair for n in range(10) for pair in (("a", n), ("b", 9 - n))]
    parted = split_rows(labelled(*unique, *twice), RowsConfig(train=0.5, validation=0, shuffle=False))
    assert parted.moved["test"] == 8
    assert ids(parted.splits["test"])[-4:] == [3, 2, 1, 0]
    assert Counter(row["label"] for row in parted.splits["test"]) == {"a": 4, "b": 4}


def test_unbalanced_labels_are_drawn_as_often_as_the_rarest():
    found = labelled(*[("b" if n % 5 == 0 else "a", n) for n in range(100)])
    draws = [split_rows(found, RowsConfig(balance=True, shuffle=False, seed=seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert ids(draws[0].left_out) == sorted(ids(draws[0].left_out))
    assert Counter(row["label"] for row in draws[0].left_out) == {"a": 60}
    assert [Counter(row["label"] for row in draws[0].splits[name]) for name in SPLITS] == [
        {"a": 17, "b": 17},
        {"a": 1, "b": 1},
        {"a": 2, "b": 2},
    ]


@pytest.mark.parametrize(
    ("pairs", "config", "message"),
    [
        ([("a", 1), ("a", 2)], {}, "all 2 rows have the label 'a'; expected at least two labels"),
        ([("a", 1), ("a", 2), ("b", 3)], {}, "the label 'b' has 1 row; expected at least 2"),
    ],
)
def test_labels_that_cannot_be_trained_and_tested_on_are_named(pairs, config, message):
    with pytest.raises(StageError, match=message):
        split_rows(labelled(*pairs), RowsConfig(**config))


def test_a_label_whose_texts_are_all_one_is_refused():
    found = labelled(*[("a", n) for n in range(20)], *[("b", "same") for _ in range(5)])
    with pytest.raises(RefusedError, match="of 5 rows labelled 'b' none is left to test on"):
        split_rows(found, RowsConfig())


def test_rows_without_labels_cannot_be_balanced():
    with pytest.raises(StageError, match=r"rows\.balance is for labelled texts"):
        split_rows([row_of(0), row_of(1)], RowsConfig(balance=True))


# What two rows ask

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_prompts_that_differ_in_case_and_spacing_are_the_same():
    shouted = {"instruction": "  NAME\tthe STRASSE ", "input": "A\n b"}
    assert prompt_of(shouted) == prompt_of({"instruction": "Name the straße", "input": "a b"})
    assert prompt_of(shouted) != prompt_of({"instruction": "Name the straße", "input": "ab"})


def test_what_was_said_before_is_part_of_the_prompt():
    asked = {"instruction": "And now?", "input": "", "output": "Yes."}
    begun = [asked | {"messages": [{"role": "user", "content": text}]} for text in ("Hi", "hi ", "Bye")]
    assert prompt_of(begun[0]) == prompt_of(begun[1]) != prompt_of(begun[2])
    assert prompt_groups([asked, *begun]) == [0, 1, 1, 3]


@given(TEXT.filter(is_splittable))
def test_opened_text_is_its_two_halves_and_one_to_the_leak_check(text):
    row = {"id": 0, "instruction": "", "input": "", "output": text, "plain": True}
    test_row = as_continuation(row)
    assert test_row["instruction"] + test_row["output"] == text
    assert test_row["instruction"].strip()
    assert test_row["output"].strip()
    assert prompt_of(test_row) == prompt_of(row)
    assert prompt_groups([row, test_row]) == [0, 0]


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        ("one two three four", ("one two", " three four")),
        ("It's\nraining", ("It's", "\nraining")),
        ("床前明月光疑是地上霜", ("床前明月光", "疑是地上霜")),
        ("题\n床前明月光疑是地上霜", ("题\n床前明月", "光疑是地上霜")),
    ],
)
def test_text_is_opened_at_the_space_or_letter_near_its_middle(text, halves):
    row = as_continuation({"output": text})
    assert (row["instruction"], row["output"]) == halves


# The stage


def test_plain_texts_are_opened_in_the_test_split_only(given_rows):
    texts = [f"number {n} is a text of its own, {'word ' * n}" for n in range(20)]
    run = given_rows([{"text": text} for text in texts])
    assert counts_of(run)["formats"] == {"text": 20}
    for name in SPLITS:
        for row in load_split(run.out, name):
            assert set(row) == {"id", "instruction", "input", "output", "plain"}
            assert row["plain"] is True
            assert row["instruction"] + row["output"] == texts[row["id"]]
            assert bool(row["instruction"]) == (name == "test")
    assert list(texts_of(run.out)) == [texts[row["id"]] for row in load_split(run.out, "train")]


def test_the_texts_of_training_rows_are_what_stands_in_them(given_rows):
    system = {"role": "system", "content": "Be kind."}
    given = [
        {
            "messages": [
                system,
                {"role": "user", "content": f"Q{n}"},
                {"role": "assistant", "content": f"A{n}"},
            ]
        }
        for n in range(9)
    ]
    run = given_rows(given)
    trained = ids(load_split(run.out, "train"))
    assert list(texts_of(run.out)) == [f"Be kind.\nQ{n}\nA{n}" for n in trained]


def test_nothing_is_written_before_every_row_was_read(given_rows, tmp_path):
    good = {"instruction": "Ask", "output": "Answer"}
    with pytest.raises(StageError, match=r"a\.json, row 2: 'output' holds half of a character"):
        given_rows([good, good | {"output": "\ud83d"}])
    assert list((tmp_path / "run" / "output").iterdir()) == []


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1))
def test_any_text_comes_back_from_a_split_as_it_was(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("splits")
    members = [{"id": number, "output": text} for number, text in enumerate(texts)]
    write_rows(folder / "train.jsonl", members)
    assert load_split(folder, "train") == members


def test_unicode_is_kept_as_it_is_line_separators_included(given_rows):
    text = "naïve 中文 🙂 e\u0301 one\u2028two"
    run = given_rows([{"instruction": f"Ask {number}", "output": text} for number in range(20)])
    assert all(row["output"] == text for name in SPLITS for row in load_split(run.out, name))
    assert text in (run.out / "test.jsonl").read_text(encoding="utf-8")  # and not as \u escapes


def test_importing_the_rows_imports_nothing_heavy():
    heavy = "torch", "pandas", "pyarrow", "mlflow"
    code = f"import sys, tasks.rows; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
