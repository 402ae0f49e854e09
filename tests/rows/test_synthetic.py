"""Rows that a model made: trained on, and tested on only where someone asks for that."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.errors import RefusedError
from tasks.rows.counts import read_counts
from tasks.rows.stage import rows
from tasks.rows.synthetic import MADE, ROWS, asked_digest
from tests.runs import stage_run_in

LINEAGE = {"kind": "questions", "passage": 0}


def person(number):
    return {"instruction": f"What is the name of the river number {number}?", "output": f"River {number}."}


def made(number, source="a.txt, passage 0", **changes):
    return {
        "id": number,
        "instruction": f"Which mountain has the height of {number} feet?",
        "input": "",
        "output": f"Mountain {number}.",
        "source": source,
        "synthetic": LINEAGE,
    } | changes


def written(folder, found, name="rows.jsonl"):
    folder.mkdir(parents=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


@pytest.fixture
def split(tmp_path):
    """Splits of rows that people wrote (`people`), and of those that a model made."""

    def run(people, synthetic=None, **settings):
        inputs = {"source": written(tmp_path / "people", people)} if people else {}
        if synthetic is not None:
            written(tmp_path / "synthesis" / MADE, synthetic, ROWS)
            inputs["synthetic"] = tmp_path / "synthesis"
        attempt = stage_run_in(tmp_path / "run")
        rows(RowsConfig(**settings), attempt, **inputs)
        found = {
            name: [json.loads(line) for line in (attempt.out / f"{name}.jsonl").read_text().splitlines()]
            for name in ("train", "validation", "test")
        }
        return found, read_counts(attempt.out)

    return run


def synthetic_in(rows):
    return sum("synthetic" in row for row in rows)


def test_made_rows_are_trained_on_alone(split):
    found, counts = split([person(n) for n in range(40)], [made(n) for n in range(20)], train=0.6)
    assert {name: synthetic_in(own) for name, own in found.items()} == {
        "train": 20,
        "validation": 0,
        "test": 0,
    }
    assert counts["synthetic"] == {"train": 20, "validation": 0, "test": 0, "left_out": 0}
    assert [row["synthetic"] for row in found["train"] if "synthetic" in row] == [LINEAGE] * 20


def test_made_rows_of_a_users_file_are_trained_on_alone(split):
    found, _ = split([*(made(n) for n in range(20)), *(person(n) for n in range(40))], train=0.6)
    assert {name: synthetic_in(own) for name, own in found.items()} == {
        "train": 20,
        "validation": 0,
        "test": 0,
    }


def test_a_rewording_of_a_test_row_is_left_out(split):
    people = [person(n) for n in range(40)]
    reworded = [
        made(
            n,
            f"given row {n}",
            instruction=f"How do people call stream no. {n}, and why?",
            output=row["output"],
            synthetic={"kind": "rewordings", "of": asked_digest(row["instruction"], "")},
        )
        for n, row in enumerate(people)
    ]
    found, counts = split(people, reworded, train=0.5, validation=0.1)
    held_out = {row["output"] for name in ("validation", "test") for row in found[name]}
    assert counts["synthetic"]["left_out"] == len(held_out) == 20
    assert not held_out & {row["output"] for row in found["train"]}


def test_made_rows_alone_are_refused(split):
    with pytest.raises(RefusedError, match=r"all 20 rows were made by a language model.*rows.test_synthetic"):
        split([], [made(n) for n in range(20)])


def test_made_rows_may_be_tested_on_where_that_is_asked(split):
    many = [made(n, f"a.txt, passage {n // 4}") for n in range(40)]
    found, counts = split([], many, train=0.6, validation=0.1, test_synthetic=True)
    assert counts["synthetic"]["test"] == len(found["test"]) > 0
    trained = {row["source"] for row in found["train"]}
    assert trained.isdisjoint(row["source"] for row in found["test"])  # a passage is in one split


def test_a_synthesis_without_a_row_is_refused(split):
    with pytest.raises(RefusedError, match="none has passed the filters"):
        split([person(n) for n in range(40)], [])


def test_a_column_of_that_name_marks_no_row_by_itself(split):
    found, counts = split([person(n) | {"synthetic": "no"} for n in range(40)])
    assert "synthetic" not in counts
    assert found["test"]


def test_own_splits_are_kept_beside_made_rows(split, tmp_path):
    folder = written(tmp_path / "people", [person(n) for n in range(20)], "train.jsonl")
    (folder / "test.jsonl").write_text("".join(json.dumps(person(n)) + "\n" for n in range(20, 30)))
    written(tmp_path / "synthesis" / MADE, [made(n) for n in range(8)], ROWS)
    for allowed in (False, True):
        run = stage_run_in(tmp_path / str(allowed))
        rows(RowsConfig(test_synthetic=allowed), run, source=folder, synthetic=tmp_path / "synthesis")
        assert read_counts(run.out)["splits"]["test"] == 10
        assert read_counts(run.out)["synthetic"]["test"] == 0
