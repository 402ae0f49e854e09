"""The preflight of conversations: every reply that is learned is checked and shown, others are counted."""

import dataclasses

import pytest

from tasks.batches.tuning import sft_data
from tasks.config import FinetuneConfig
from tasks.data.token_files import IGNORED
from tasks.preflight.labels import check_labels, replies_learned
from tasks.rows import SPLITS, write_rows
from tasks.tokenize.stage import characters

LETTERS = characters(["abcdefghijklmnopqrstuvwxyz _<|>\n"])
CHATML = {"template": "chatml", "max_length": 300, "device": "cpu"}


def conversation(place, turns=3):
    said = [
        {"role": role, "content": f"{'abcdefgh'[place]}{'xyz'[turn]} {role}"}
        for turn in range(turns - 1)
        for role in ("user", "assistant")
    ]
    asked = {"id": place, "instruction": "more", "input": "", "output": "yes"}
    return asked | ({"messages": said} if said else {})


@pytest.fixture
def made(tmp_path):
    def make(rows=None, **changed):
        rows = rows or [conversation(place) for place in range(6)]
        for split, members in zip(SPLITS, (rows[:-2], rows[-2:-1], rows[-1:]), strict=True):
            write_rows(tmp_path / f"{split}.jsonl", members)
        return sft_data(FinetuneConfig(**CHATML | changed), LETTERS, tmp_path, 300)

    return make


def failed(data):
    return {result.check: result.where for result in check_labels(data)[0] if result.verdict == "failed"}


def relabelled(data, change):
    """The data as a trainer would hold it that changed the labels of one row."""

    def collate(examples):
        batch = data.collator(examples)
        change(batch["labels"][0], batch["input_ids"][0])
        return batch

    return dataclasses.replace(data, collator=collate, batch_size=1)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("turns", ["all", "last"])
def test_conversations_pass_whatever_the_turns(made, turns, packing):
    data = made(turns=turns, packing=packing)
    assert failed(data) == {}
    labels = [label for example in data.examples["train"] for label in example.labels if label != IGNORED]
    assert labels.count(LETTERS.eos_token_id) == 4 * (3 if turns == "all" else 1)
    assert failed(dataclasses.replace(data, turns="last" if turns == "all" else "all"))


@pytest.mark.parametrize("reply", [0, 1, 2])
@pytest.mark.parametrize("end", [False, True])
def test_reply_that_lost_a_label_is_named(made, reply, end):
    data = made()
    ends = [place for place, token in enumerate(data.examples["train"][0].input_ids) if token == 0]

    def mask(labels, _):
        labels[ends[reply] - (not end)] = IGNORED

    assert "prompt as configured" in failed(relabelled(data, mask))


def test_turn_of_the_user_that_is_learned_is_named(made):
    data = made()
    end = data.examples["train"][0].input_ids.index(0)

    def unmask(labels, input_ids):
        labels[end + 1] = input_ids[end + 1]

    found = check_labels(relabelled(data, unmask))[0]
    (fault,) = [result for result in found if result.verdict == "failed"]
    assert "2 earlier replies in it" in fault.found


def test_example_shows_every_span_that_is_learned(made):
    rows = [conversation(place, turns=1 + 2 * (place == 2)) for place in range(6)]
    _, example = check_labels(made(rows))
    name, *lines = example.splitlines()
    assert name == "train row 2"
    learned = [line.partition("│")[2].replace("│", "") for line in lines if line.startswith("trained on")]
    assert learned == ["cx assistant<|endoftext|>", "cy assistant<|endoftext|>", "yes<|endoftext|>"]


def test_conversation_cut_behind_a_reply_still_teaches_to_stop(made):
    for length in range(100, 200):
        data = made(max_length=length)
        assert failed(data) == {}, length
    found = replies_learned(made(max_length=130))
    assert (found.verdict, found.found) == (
        "info",
        "10 of 15 replies in 5 rows; 5 are not: they do not fit into max_length",
    )
    assert replies_learned(made()).found == "15 of 15 replies in 5 rows"
