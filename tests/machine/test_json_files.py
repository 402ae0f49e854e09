"""JSON as every stage writes it, and files that have one owner."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from tasks.errors import StageError
from tasks.machine.json_files import JsonFile, as_line, as_text, read_json, write_json
from tests.commands import CHECKOUT

SOURCES = [path for house in ("tasks", "flows") for path in (CHECKOUT / house).rglob("*.py")]
OWNER = CHECKOUT / "tasks" / "machine" / "json_files.py"


@dataclass(frozen=True, kw_only=True)
class Tea(JsonFile):
    FILE: ClassVar[str] = "tea.json"

    name: str
    milk: str | None = None
    minutes: float | None
    sorts: Mapping[str, int] = field(default_factory=dict)


def test_file_has_its_fields_in_order_and_no_defaults(tmp_path):
    Tea(name="茶", minutes=None).write(tmp_path)
    assert (tmp_path / "tea.json").read_bytes() == '{\n  "name": "茶",\n  "minutes": null\n}\n'.encode()
    Tea(name="x", minutes=3, sorts={"b": 1, "a": 2}, milk="oat").write(tmp_path)
    assert list(read_json(tmp_path / "tea.json")) == ["name", "milk", "minutes", "sorts"]


@pytest.mark.parametrize("more", [{}, {"milk": "oat", "sorts": {"a": 1}}])
def test_what_was_written_is_read(tmp_path, more):
    tea = Tea(name="x", minutes=1.5, **more)
    tea.write(tmp_path)
    assert Tea.read(tmp_path) == Tea.find(tmp_path) == tea


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    assert Tea.find(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        Tea.read(tmp_path)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"name": "x"}, "lacks minutes"),
        ({"name": "x", "minutes": 1, "cups": 2}, "holds an unknown cups"),
        ({"cups": 2}, "lacks name and lacks minutes and holds an unknown cups"),
    ],
)
def test_a_file_of_another_version_is_told_as_one(tmp_path, found, told):
    write_json(tmp_path / "tea.json", found)
    with pytest.raises(StageError, match=rf"tea\.json {told}: another version wrote it\. Run again"):
        Tea.read(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_number_that_is_not_finite_is_refused_and_leaves_no_file(tmp_path, number):
    for write in (as_text, as_line):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write({"mean": [number]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        Tea(name="x", minutes=number).write(tmp_path)
    assert not list(tmp_path.iterdir())


TEXT_FOR_OTHERS = {
    "flows/board/own_files.py",  # what a user's record holds, as text
    "flows/command/options.py",  # a setting, written as YAML
    "flows/profiles/form.py",  # a setting, as a person types it
    "flows/process/streams.py",  # a character
    "tasks/data/reading.py",  # what a user's record holds, as text
    "tasks/distributed/launch.py",  # what a process tells another of ours
    "tasks/generate/sampling.py",  # hashed
    "tasks/servers/http.py",  # what a server said
    "tasks/judge/backends/local.py",  # what a judge said, as a server would have
    "tasks/rows/formats.py",  # a column's name
    "tasks/rows/imported_responses.py",  # what a user's record holds, as text
    "tasks/tokenize/first_tokens.py",  # a tokenizer's settings
}
"""Modules whose JSON is kept nowhere."""


def test_every_writer_of_json_refuses_what_is_no_number():
    """NaN is no JSON: other readers stop at it, and it says that something went wrong long before."""
    lenient = {
        str(path.relative_to(CHECKOUT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump")
        if not any(one.arg == "allow_nan" and not one.value.value for one in node.keywords)
    }
    assert lenient == TEXT_FOR_OTHERS


def test_json_is_named_once():
    named = [path for path in SOURCES if "Json = dict[str, Any]\n" in path.read_text(encoding="utf-8")]
    assert named == [OWNER]


OUTPUTS = (
    *("scores.json", "scores.jsonl", "judge.json", "audit.json", "compare.json", "labels.json"),
    *("summary.json", "history.jsonl", "evaluation.json", "predictions.jsonl", "preflight.json"),
    *("reward.json", "pairs.jsonl", "registered.json"),
    *("promotion.json", "seeds.json", "report.json", "cost.json", "report.html"),
    *("rows.json", "groups.json", "tokens.json"),
)
ELSEWHERE = {
    "scores.json": {"tasks/judge/score/stage.py"},  # the table in MLflow that has its name
    "summary.json": {"tasks/generate/outputs.py", "flows/dispatch/runs.py"},  # not of a model, of a flow
    "tokens.json": {"tasks/preflight/stream.py"},  # told to people
    "rows.json": {"tasks/synthesize/stage.py"},  # the table in MLflow that has its name
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_names_are_spelled_only_where_they_are_made(name):
    spelled = {
        str(path.relative_to(CHECKOUT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value == name or node.value.endswith(f"/{name}")
    }
    assert len(spelled - ELSEWHERE.get(name, set())) == 1, spelled
