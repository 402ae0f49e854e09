"""`touchstone generate` as a user meets it: rows in, responses out, nothing lost or overwritten."""

import csv
import json

import pytest

from flows.generating.written import require_place, write_responses
from tasks.errors import UsageError

ASKED = [
    {"instruction": "Say yes"},
    {"instruction": "Say no", "input": "now"},
]
RESPONSES = [
    {"id": 0, "instruction": "a,b", "response": 'say "x"\nand y', "cut": False, "tokens": 3},
    {"id": 1, "messages": [{"role": "user", "content": "é"}], "instruction": "", "response": "", "cut": True},
]


def test_rows_are_responded_to_by_a_registered_model(finished):
    place, _ = finished
    (place.folder / "asked.jsonl").write_text("\n".join(map(json.dumps, ASKED)), encoding="utf-8")
    first = place("generate", "touchstone-tiny", "asked.jsonl", "-o", "out.jsonl", "--json")
    assert first.status == 0, first.err
    assert [stage["name"] for stage in first.json["stages"]] == ["download rows", "rows", "generate"]
    lines = [json.loads(line) for line in (place.folder / "out.jsonl").read_text().splitlines()]
    assert [line["instruction"] for line in lines] == ["Say yes", "Say no"]
    assert all(isinstance(line["response"], str) and "output" not in line for line in lines)
    assert first.json["summary"]["rows"] == 2
    assert first.json["template"] == "phi3"  # that it was trained in
    assert lines[0]["prompt"] == "<|user|>\nSay yes<|end|>\n<|assistant|>\n"
    again = place("generate", "touchstone-tiny", "asked.jsonl", "-o", "out.csv", "--json")
    assert again.json["run_id"] == first.json["run_id"]  # nothing was generated again
    rows = list(csv.DictReader((place.folder / "out.csv").open(encoding="utf-8", newline="")))
    assert [row["response"] for row in rows] == [line["response"] for line in lines]
    kept = (place.folder / "out.jsonl").read_bytes()
    refused = place("generate", "touchstone-tiny", "asked.jsonl", "-o", "out.jsonl")
    assert (refused.status, (place.folder / "out.jsonl").read_bytes()) == (2, kept)
    assert "it is there already" in refused.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.txt", "expected a name that ends with .jsonl or .csv"),
        ("nowhere/out.csv", "there is no folder"),
        ("there.csv", "it is there already; name another file, or overwrite it with --force"),
        ("folder.csv", "it is a folder"),
    ],
)
def test_place_that_cannot_be_written_is_refused_first(tmp_path, name, message):
    (tmp_path / "there.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=message):
        require_place(tmp_path / name, force=False)
    require_place(tmp_path / "there.csv", force=True)


def test_a_file_that_appeared_meanwhile_is_kept(tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UsageError, match="it is there already"):
        write_responses(tmp_path / "out.csv", RESPONSES, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_a_csv_holds_what_json_lines_hold(tmp_path):
    write_responses(tmp_path / "out.csv", RESPONSES, force=False)
    write_responses(tmp_path / "out.jsonl", RESPONSES, force=False)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    first, second = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline=""))
    assert lines == RESPONSES
    assert (first["response"], first["cut"], first["tokens"]) == ('say "x"\nand y', "false", "3")
    assert (json.loads(second["messages"]), second["tokens"]) == (RESPONSES[1]["messages"], "")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("empty", "holds no model: expected a folder with config.json"),
        ("adapters", "holds adapters alone, and not the model"),
        ("nobody", "or a folder with a model, and there is none of this name"),
    ],
)
def test_a_model_that_is_none_is_told_with_what_is_expected(touchstone, tmp_path, model, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
    (tmp_path / "asked.jsonl").write_text(json.dumps(ASKED[0]))
    name = str(tmp_path / model) if (tmp_path / model).is_dir() else model
    status, _, err = touchstone("generate", name, "asked.jsonl", "-o", "out.jsonl")
    assert status == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out.jsonl").exists()
