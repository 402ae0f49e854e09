"""The unit of a split is the source of rows: a conversation, a passage, what a column names."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.errors import StageError
from tasks.preflight.splits import rows_apart
from tasks.rows import load_groups, load_split, rows, source_groups
from tasks.rows.sources import FEW, PREFIX_WORDS, SHARED_WORDS
from tasks.rows.splits import split_rows

NAMES = [f"{first}{second}" for first in "bcdfghjklm" for second in "aeiou"]
PASSAGE = " ".join(f"word{number}" for number in range(SHARED_WORDS))


def asked(number, instruction, output="An answer.", **more):
    return {"id": number, "instruction": instruction, "input": "", "output": output} | more


def turns(*said):
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def expanded(conversation):
    """A row for each answer of a conversation: (prompt, answer, prompt, answer, ...)."""
    for place in range(1, len(conversation), 2):
        before = {"messages": turns(*conversation[: place - 1])} if place > 1 else {}
        yield {"instruction": conversation[place - 1], "input": "", "output": conversation[place]} | before


def conversations(count, exchanges=4):
    return [
        [f"{name} {kind} {turn}?" for turn in range(exchanges) for kind in ("asks", "answers")]
        for name in NAMES[:count]
    ]


def numbered(found):
    return [{"id": place} | row for place, row in enumerate(found)]


def test_pitfall_26_turns_of_one_conversation_stay_in_one_split():
    found = numbered(row for talk in conversations(50) for row in expanded(talk))
    for seed in range(5):
        parted = split_rows(found, RowsConfig(train=0.7, validation=0.1, seed=seed))
        assert [result.verdict for result in rows_apart(parted.splits)] == ["passed"] * 3
        sizes = {name: len(members) for name, members in parted.splits.items()}
        assert sizes == {"train": 140, "validation": 20, "test": 40}
        trained = "\n".join(
            "".join(turn["content"] for turn in [*row.get("messages", ()), *turns(row["instruction"])])
            for row in parted.splits["train"]
        )
        assert not any(row["instruction"] + row["output"] in trained for row in parted.splits["test"])


def test_rows_moved_for_their_source_alone_are_counted():
    """The boundary of a split cuts a conversation in two."""
    found = numbered(row for talk in conversations(10, exchanges=3) for row in expanded(talk))
    parted = split_rows(found, RowsConfig(train=0.5, validation=0, shuffle=False))
    assert (parted.moved["test"], parted.near["test"], parted.source["test"]) == (0, 0, 0)
    parted = split_rows(found, RowsConfig(train=0.55, validation=0, shuffle=False))
    assert (parted.moved["test"], parted.near["test"], parted.source["test"]) == (2, 0, 2)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ([asked(0, "Hello?", "Hello.")], [asked(1, "And now?", messages=turns("Hello?", "Hello."))], True),
        (  # both go on from turns that anyone may exchange, and nothing else is there
            [asked(0, "What is tea?", messages=turns("Hello?", "Hello."))],
            [asked(1, "What is rye?", messages=turns("Hello?", "Hello."))],
            False,
        ),
        (  # both go on from the same longer turns
            [asked(0, "What is tea?", messages=turns("Tell me.", PASSAGE))],
            [asked(1, "What is rye?", messages=turns("Tell me.", PASSAGE))],
            True,
        ),
        (  # what the system says is no conversation
            [asked(0, "a b", messages=[{"role": "system", "content": PASSAGE}])],
            [asked(1, "c d", messages=[{"role": "system", "content": PASSAGE}])],
            False,
        ),
        ([asked(0, "a b", input=PASSAGE)], [asked(1, "c d", input=PASSAGE)], True),
        ([asked(0, "a b", input="short")], [asked(1, "c d", input="short")], False),
        ([asked(0, "a b", source="x")], [asked(1, "c d", source="x")], True),
        ([asked(0, "a b", source="x")], [asked(1, "c d", source="y")], False),
    ],
)
def test_what_makes_two_rows_of_one_source(first, second, together):
    assert source_groups([*first, *second]) == ([0, 0] if together else [0, 1])


def test_questions_with_the_same_first_passage_are_of_one_source():
    long = " ".join(f"word{number}" for number in range(PREFIX_WORDS))
    found = [asked(0, f"{long} Who?"), asked(1, f"{long} When?"), asked(2, "When?")]
    assert source_groups(found) == [0, 0, 2]
    assert source_groups([{"id": n, "text": row["instruction"], "label": "a"} for n, row in enumerate(found)])


def test_a_text_that_many_rows_share_is_a_template_and_no_source():
    found = [asked(number, f"{PASSAGE} {PASSAGE} {name}") for number, name in enumerate(NAMES[: FEW + 1])]
    assert source_groups(found) == list(range(FEW + 1))
    assert source_groups(found[:FEW]) == [0] * FEW


def test_named_column_keeps_rows_together_and_names_the_source(tmp_path, stage_run):
    records = [
        {"thread": place // 4, "instruction": f"Ask {name}?", "output": f"Answer {name}."}
        for place, name in enumerate(NAMES[:40])
    ]
    (tmp_path / "rows.json").write_text(json.dumps(records))
    run = stage_run()
    rows(RowsConfig(group_by="thread", train=0.6, validation=0), run, source=tmp_path)
    test = load_split(run.out, "test")
    assert len(test) == 16
    assert len({row["source"] for row in test}) == 4
    assert sorted(map(sorted, load_groups(run.out).sources)) == [
        list(range(start, start + 4)) for start in range(0, 40, 4)
    ]
    assert [result.verdict for result in rows_apart({"test": test}, load_groups(run.out))] == ["passed"] * 3


def test_held_out_rows_of_one_conversation_name_their_source(tmp_path, stage_run):
    """Pitfall 38, of the rows too that weights and sweeps are chosen by."""
    (tmp_path / "rows.json").write_text(
        json.dumps(
            [{"messages": turns(*talk[: place + 1])} for talk in conversations(20) for place in (1, 3, 5, 7)]
        )
    )
    run = stage_run()
    rows(RowsConfig(train=0.5, validation=0.2), run, source=tmp_path)
    for split in ("validation", "test"):
        held_out = load_split(run.out, split)
        assert len(held_out) == 4 * len({row["source"] for row in held_out}) > 4
    assert not any("source" in row for row in load_split(run.out, "train"))


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({}, "'thread', named by rows.group_by, is not among its columns (instruction, output)"),
        ({"thread": None}, "'thread', named by rows.group_by, is empty"),
        ({"thread": [1]}, "'thread', named by rows.group_by, is a list: [1]; expected text or a number"),
    ],
)
def test_a_row_without_a_source_where_one_is_named_is_malformed(tmp_path, stage_run, record, told):
    (tmp_path / "rows.json").write_text(json.dumps([{"instruction": "Ask?", "output": "Yes."} | record]))
    with pytest.raises(StageError) as caught:
        rows(RowsConfig(group_by="thread"), stage_run(), source=tmp_path)
    assert told in str(caught.value)
