"""Training rows in shares by source: repeated or left out, validation and test as they were."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import RowsConfig
from tasks.errors import StageError
from tasks.report.data import left_text, sources_text
from tasks.rows import MIXED_FROM, load_split, rows
from tasks.rows.counts import read_counts
from tasks.rows.mixing import mix_rows
from tests.runs import stage_run_in

WORDS = "amber birch cedar delta ember fjord glade harbour island juniper kettle lantern".split()
SIZES = {"few.json": 20, "many.jsonl": 100}


def row_of(source, number):
    words = [WORDS[(number // 12**place) % 12] for place in range(2)]
    return {"instruction": f"Name the {source} of {' and '.join(words)}", "output": f"{source} {number}"}


def read(folder, sizes=SIZES, **config):
    """The rows stage on a file for each source."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name, size in sizes.items():
        own = [row_of(name.partition(".")[0], number) for number in range(size)]
        text = json.dumps(own) if name.endswith(".json") else "\n".join(map(json.dumps, own))
        (source / name).write_text(text, encoding="utf-8")
    run = stage_run_in(folder)
    rows(RowsConfig(**config), run, source=source)
    return run.out


def by_source(members):
    return Counter(row["output"].split()[0] for row in members)


def train_of(**sizes):
    names = [name for name, size in sizes.items() for _ in range(size)]
    return [{"id": number} for number in range(len(names))], dict(enumerate(names))


@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 3),
    weights=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 9),
)
def test_mixed_rows_have_their_shares_and_their_number(sizes, weights, seed):
    train, sources = train_of(**dict(zip("abc", sizes, strict=True)))
    asked = dict(zip("abc", weights, strict=True))
    mixed = mix_rows(train, sources, asked, seed)
    assert len(mixed.rows) == len(train)
    times = Counter(row["id"] for row in mixed.rows)
    assert {row["id"] for row in mixed.left_out} == {row["id"] for row in train} - times.keys()
    for name, weight in asked.items():
        own = [times[number] for number, source in sources.items() if source == name]
        assert abs(sum(own) - len(train) * weight / sum(weights)) < 1
        assert max(own) - min(own) <= 1, "each row of a source as often as the others, but for once"
        assert mixed.counts[name]["drawn"] == sum(own)
        assert mixed.counts[name]["epochs"] == sum(own) / len(own)


def test_mixed_rows_are_drawn_by_the_seed_and_stay_in_order():
    train, sources = train_of(a=10, b=30)
    one, again, other = (mix_rows(train, sources, {"a": 1, "b": 1}, seed).rows for seed in (1, 1, 2))
    assert one == again != other
    first = one[: len({row["id"] for row in one})]
    assert [row["id"] for row in first] == sorted(row["id"] for row in first)


def test_rows_that_a_model_made_stay_beside_a_mixture():
    train, sources = train_of(a=10, b=10)
    made = [{"id": number} for number in range(100, 104)]
    mixed = mix_rows(train + made, sources, {"a": 3, "b": 1}, 1)
    assert [row for row in mixed.rows if row["id"] >= 100] == made
    assert mixed.counts["a"]["drawn"] == 15


def test_only_training_rows_are_mixed(tmp_path):
    plain = read(tmp_path / "plain")

    mixed = read(tmp_path / "mixed", mixture={"few.json": 1, "many.jsonl": 1})
    assert load_split(mixed, "test") == load_split(plain, "test")
    files = {"few": "few.json", "many": "many.jsonl"}
    assert load_split(mixed, "validation") == [
        row | {MIXED_FROM: files[row["output"].split()[0]]} for row in load_split(plain, "validation")
    ]
    train = load_split(plain, "train")
    assert by_source(load_split(mixed, "train")) == {"few": len(train) / 2, "many": len(train) / 2}
    counts = read_counts(mixed)
    assert counts["splits"] == read_counts(plain)["splits"]
    assert counts["left_out"] == len(load_split(mixed, "left_out"))
    few = by_source(train)["few"]
    assert counts["sources"]["few.json"] == {
        "rows": few,
        "share": 0.5,
        "drawn": len(train) // 2,
        "epochs": len(train) / 2 / few,
    }
    assert f"few.json 50.0% ({len(train) // 2} drawn of {few} rows" in sources_text(counts["sources"])
    assert left_text(counts) == f"{counts['left_out']} left out to mix the sources"


def test_without_weights_nothing_is_told_of_sources(tmp_path):
    out = read(tmp_path)
    assert "sources" not in read_counts(out)
    assert not (out / "left_out.jsonl").exists()


@pytest.mark.parametrize(
    ("mixture", "told"),
    [
        ({"few.json": 1, "gone.json": 1}, "rows.mixture names 'gone.json', and no file or folder"),
        ({"few.json": 1}, "many.jsonl is of none of the sources that have weights: few.json"),
    ],
)
def test_weights_of_other_sources_are_refused(tmp_path, mixture, told):
    with pytest.raises(StageError, match=told):
        read(tmp_path, mixture=mixture)


def test_a_source_without_a_training_row_is_refused():
    train, sources = train_of(a=3)
    with pytest.raises(StageError, match="of the source 'b' no row is left to train on"):
        mix_rows(train, sources, {"a": 1, "b": 1}, 1)
