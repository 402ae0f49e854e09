"""Instruction rows: nothing tested was trained on, nothing lost, and what is malformed is named."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.config import RowsConfig
from tasks.errors import RefusedError, StageError
from tasks.rows import SPLITS, load_split, prompt_of, prompts_alike, read_rows, rows, split_rows, write_rows


def row_of(number, prompt=None):
    instruction = f"Question {number if prompt is None else prompt}"
    return {"id": number, "instruction": instruction, "input": "", "output": f"Answer {number}"}


def prompts(members):
    return {prompt_of(row) for row in members}


@pytest.fixture
def folder(tmp_path):
    """Write `instructions/<name>` and return the folder."""

    def write(**files):
        (tmp_path / "instructions").mkdir()
        for name, content in files.items():
            path = tmp_path / "instructions" / name.replace("__", ".")
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / "instructions"

    return write


# The real data (pitfall 2)


def test_pitfall_2_the_books_unshuffled_split_leaks_two_test_and_four_validation_rows(
    shared_data, stage_run, tmp_path
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_bytes((shared_data / "instruction-data.json").read_bytes())
    run = stage_run()
    rows(RowsConfig(shuffle=False), run, instructions=tmp_path / "in")
    assert json.loads((run.out / "rows.json").read_text()) == {
        "read": 1100,
        "distinct_prompts": 1075,
        "splits": {"train": 935, "validation": 55, "test": 110},
        "moved": {"test": 2, "validation": 4},
        "near": {"test": 0, "validation": 0},
    }
    assert run.metrics == {
        "rows": 1100,
        "train_rows": 935,
        "validation_rows": 55,
        "test_rows": 110,
        "leaks_moved_from_test": 2,
        "leaks_moved_from_validation": 4,
    }
    splits = {name: load_split(run.out, name) for name in SPLITS}
    assert sorted(row["id"] for members in splits.values() for row in members) == list(range(1100))
    assert not prompts(splits["test"]) & prompts(splits["train"] + splits["validation"])
    assert not prompts(splits["validation"]) & prompts(splits["train"])


@pytest.mark.parametrize("seed", range(5))
def test_pitfall_2_no_seed_lets_a_real_row_leak(shared_data, seed, folder):
    found = read_rows(folder(**{"a__json": (shared_data / "instruction-data.json").read_text("utf-8")}))
    splits, *_ = split_rows(found, RowsConfig(seed=seed))
    assert {name: len(members) for name, members in splits.items()} == {
        "train": 935,
        "validation": 55,
        "test": 110,
    }
    assert not prompts(splits["test"]) & prompts(splits["train"] + splits["validation"])
    assert not prompts(splits["validation"]) & prompts(splits["train"])


# Splits of whatever rows

FRACTIONS = st.tuples(st.floats(0.05, 0.9), st.floats(0, 0.9)).filter(lambda pair: sum(pair) < 0.99)


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60), FRACTIONS, st.booleans(), st.integers(0, 2**32 - 1)
)
def test_splits_partition_the_rows_share_no_prompt_and_keep_their_sizes(questions, shares, shuffle, seed):
    found = [row_of(number, prompt) for number, prompt in enumerate(questions)]
    config = RowsConfig(train=shares[0], validation=shares[1], shuffle=shuffle, seed=seed)
    sizes, moved = expected_sizes(found, config)
    if not sizes["test"]:
        with pytest.raises(RefusedError, match=f"of {len(found)} rows none is left to test on"):
            split_rows(found, config)
        return
    if not sizes["train"]:
        with pytest.raises(StageError, match=f"{len(found)} rows are too few to split"):
            split_rows(found, config)
        return

    splits, counted, near = split_rows(found, config)
    assert list(splits) == list(SPLITS)
    assert (counted, near) == (moved, {"test": 0, "validation": 0})
    assert {name: len(members) for name, members in splits.items()} == sizes
    assert sorted(row["id"] for members in splits.values() for row in members) == list(range(len(found)))
    assert all(row == found[row["id"]] for members in splits.values() for row in members)
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not prompts(splits[one]) & prompts(splits[other])


def expected_sizes(found, config):
    """Sizes by counting alone: what leaks goes to train, and as much comes back as is asked only once."""
    order = list(found)
    if config.shuffle:
        random.Random(config.seed).shuffle(order)
    train, validation = round(len(found) * config.train), round(len(found) * config.validation)
    test = len(found) - train - validation
    parts = {"train": order[:train], "test": order[train : train + test], "validation": order[train + test :]}
    occurrences = Counter(map(prompt_of, found))
    spare = sum(occurrences[prompt_of(row)] == 1 for row in parts["train"])
    elsewhere = {
        "test": prompts(parts["train"] + parts["validation"]),
        "validation": prompts(parts["train"] + parts["test"]),  # a leaking test row has gone to train
    }
    sizes, moved = {name: len(members) for name, members in parts.items()}, {}
    for name in ("test", "validation"):  # the test split is filled up first
        moved[name] = sum(prompt_of(row) in elsewhere[name] for row in parts[name])
        replaced = min(moved[name], spare)
        spare -= replaced
        sizes[name] -= moved[name] - replaced
        sizes["train"] += moved[name] - replaced
    return sizes, moved


@given(st.lists(st.integers(0, 30), min_size=20, max_size=40, unique=True), st.integers(0, 2**32 - 1))
def test_nothing_moves_where_nothing_leaks(questions, seed):
    found = [row_of(number, prompt) for number, prompt in enumerate(questions)]
    splits, moved, _ = split_rows(found, RowsConfig(seed=seed))
    order = list(found)
    random.Random(seed).shuffle(order)
    assert moved == {"test": 0, "validation": 0}
    assert [*splits["train"], *splits["test"], *splits["validation"]] == order


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    found = [row_of(number, number // 2 if number < 20 else None) for number in range(100)]
    assert split_rows(found, RowsConfig(seed=1)) == split_rows(found, RowsConfig(seed=1))
    assert split_rows(found, RowsConfig(seed=1)) != split_rows(found, RowsConfig(seed=2))


def test_the_split_of_a_seed_is_this_literal():
    splits, *_ = split_rows(
        [row_of(number) for number in range(10)], RowsConfig(train=0.6, validation=0.2, seed=123)
    )
    assert {name: [row["id"] for row in members] for name, members in splits.items()} == {
        "train": [8, 7, 5, 9, 2, 3],
        "validation": [4, 0],
        "test": [6, 1],
    }


def test_leaking_rows_are_moved_to_train_and_replaced_by_rows_asked_once():
    found = [row_of(number, prompt) for number, prompt in enumerate([0, 1, 2, 3, 4, 0, 5, 1, 6, 7])]
    splits, moved, _ = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert moved == {"test": 2, "validation": 0}
    assert {name: [row["id"] for row in members] for name, members in splits.items()} == {
        "train": [0, 1, 2, 5, 7],  # 5 and 7 ask what 0 and 1 ask
        "validation": [8, 9],
        "test": [6, 4, 3],
    }


def test_near_duplicates_leak_too_and_are_counted_apart():
    found = [row_of(number, f"{'abcdefghij'[number]}?") for number in range(10)]
    found[5]["instruction"] = "Question 'a'!"  # nearly what 0 asks
    found[6]["instruction"] = "question  b?"  # what 1 asks
    splits, moved, near = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert (moved, near) == ({"test": 2, "validation": 0}, {"test": 1, "validation": 0})
    assert {name: [row["id"] for row in members] for name, members in splits.items()} == {
        "train": [0, 1, 2, 5, 6],
        "validation": [8, 9],
        "test": [7, 4, 3],
    }


def test_a_row_of_validation_that_is_nearly_one_of_test_leaves_one_of_them():
    found = [row_of(number, "abcdefghij"[number]) for number in range(10)]
    found[9]["instruction"] = "Question: g."
    splits, moved, near = split_rows(found, RowsConfig(train=0.5, validation=0.2, shuffle=False))
    assert (moved, near) == ({"test": 1, "validation": 1}, {"test": 1, "validation": 1})
    assert {6, 9} <= {row["id"] for row in splits["train"]}


@pytest.mark.parametrize("seed", range(5))
def test_no_seed_lets_a_real_row_leak_nearly(shared_data, seed, folder):
    found = read_rows(folder(**{"a__json": (shared_data / "instruction-data.json").read_text("utf-8")}))
    splits, *_ = split_rows(found, RowsConfig(seed=seed))
    members = [row | {"split": name} for name in SPLITS for row in splits[name]]
    assert all(members[a]["split"] == members[b]["split"] for a, b in prompts_alike(members))


def test_prompts_that_differ_in_case_and_spacing_are_the_same_prompt():
    shouted = {"instruction": "  NAME\tthe STRASSE ", "input": "A\n b"}
    assert prompt_of(shouted) == prompt_of({"instruction": "Name the straße", "input": "a b"})
    assert prompt_of(shouted) != prompt_of({"instruction": "Name the straße", "input": "ab"})


def test_rows_that_all_ask_the_same_leave_nothing_to_test_on():
    found = [row_of(number, "same") for number in range(20)]
    with pytest.raises(RefusedError, match="of 20 rows none is left to test on: 2 were moved out"):
        split_rows(found, RowsConfig())


def test_a_single_row_is_refused():
    with pytest.raises(RefusedError, match="of 1 rows none is left to test on"):
        split_rows([row_of(0)], RowsConfig())


@pytest.mark.parametrize(
    "shares", [{"train": 0.9, "validation": 0.1}, {"train": 0.0}, {"train": 0.6, "validation": 0.6}]
)
def test_shares_that_leave_no_test_or_training_rows_are_refused(shares):
    with pytest.raises(ValidationError, match="must leave rows for the test split"):
        RowsConfig(**shares)


# Reading rows

GOOD = {"instruction": "Ask", "input": "", "output": "Answer"}


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (
            {"instruction": "Ask", "input": ""},
            "a.json, row 2: no 'output'; its fields are input, instruction",
        ),
        ({"output": "x"}, "a.json, row 2: no 'instruction'; its fields are output"),
        (GOOD | {"output": ""}, "a.json, row 2: 'output' is empty"),
        (GOOD | {"output": 42}, "a.json, row 2: 'output' should be text, found a number: 42"),
        (GOOD | {"input": ["x"]}, "a.json, row 2: 'input' should be text, found a list: [\"x\"]"),
        (GOOD | {"category": 1}, "a.json, row 2: 'category' should be text, found a number: 1"),
        ("Ask", "a.json, row 2: expected an object, found text: Ask"),
    ],
)
def test_a_malformed_row_is_named_by_its_number(folder, bad, expected):
    with pytest.raises(StageError) as raised:
        read_rows(folder(**{"a__json": [GOOD, bad, GOOD]}))
    assert str(raised.value) == expected


def test_half_a_surrogate_pair_is_refused_before_anything_is_written(folder, stage_run):
    run = stage_run()
    with pytest.raises(StageError, match=r"a\.json, row 2: 'output' holds half of a character"):
        rows(RowsConfig(), run, instructions=folder(**{"a__json": [GOOD, GOOD | {"output": "\ud83d"}]}))
    assert list(run.out.iterdir()) == []


def test_a_folder_without_a_file_is_an_error(tmp_path):
    with pytest.raises(StageError, match="no instruction row was found"):
        read_rows(tmp_path)


def test_rows_of_all_files_are_numbered_through_in_the_order_of_the_names(folder):
    found = read_rows(
        folder(
            b__json=[GOOD | {"input": "third"}],
            a__jsonl="\n".join(json.dumps(GOOD | {"input": text}) for text in ("first", "second")),
        )
    )
    assert [(row["id"], row["input"]) for row in found] == [(0, "first"), (1, "second"), (2, "third")]


def test_only_the_fields_of_a_row_are_kept_and_missing_ones_filled_in(folder):
    bare = {"instruction": "Ask", "output": "Answer", "chosen": "x"}
    assert read_rows(folder(a__json=[bare, GOOD | {"category": "kind"}])) == [
        {"id": 0, "instruction": "Ask", "input": "", "output": "Answer"},
        {"id": 1, "instruction": "Ask", "input": "", "output": "Answer", "category": "kind"},
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT, min_size=1))
def test_any_text_comes_back_from_a_split_as_it_was(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("splits")
    members = [{"id": number, "output": text} for number, text in enumerate(texts)]
    write_rows(folder / "train.jsonl", members)
    assert load_split(folder, "train") == members


def test_unicode_is_kept_as_it_is_line_separators_included(folder, stage_run):
    text = "naïve 中文 🙂 e\u0301 one\u2028two"
    run = stage_run()
    given_rows = [GOOD | {"instruction": f"Ask {number}", "output": text} for number in range(20)]
    rows(RowsConfig(), run, instructions=folder(**{"a__json": given_rows}))
    assert all(row["output"] == text for name in SPLITS for row in load_split(run.out, name))
    assert text in (run.out / "test.jsonl").read_text(encoding="utf-8")  # and not as \u escapes
