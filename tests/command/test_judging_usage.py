"""Mistakes in the use of `judge`, `audit` and `compare`: one message and status 2, before anything starts."""

import json

import pytest


@pytest.fixture(autouse=True)
def _files(tmp_path):
    for name in ("most.json", "right.json"):
        rows = [{"instruction": f"Say {n}.", "output": str(n), "model_response": str(n)} for n in range(3)]
        (tmp_path / name).write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("judge", "nowhere.json"), "nowhere.json"),
        (("judge", "most.json", "--judge", "gpt-4"), "'gpt-4' is no scorer"),
        (("judge", "most.json", "--set", "judge.contxt=5"), "judge.context"),
        (("judge", "most.json", "--set", "pretrain.steps=5"), "settings of judge alone"),
        (("judge", "most.json", "--column", "answer"), "NAME=COLUMN"),
        (("compare", "right.json", "0123"), "neither a file nor the id of an MLflow run"),
        (("compare", "right.json", "most.json", "--pairwise"), "pairwise needs one judge"),
        (("audit", "--rows", "nowhere.json"), "nowhere.json"),
        (("audit", "--sample", "0"), "--sample"),
    ],
)
def test_a_mistake_is_one_message(touchstone, arguments, hint):
    assert_one_message(touchstone(*arguments, "--json"), hint)


def test_a_run_that_there_is_not_is_one_message(touchstone, tmp_path, fresh_store):
    fresh_store(tmp_path / "mlruns")
    assert_one_message(touchstone("compare", "right.json", "0" * 32, "--json"), "there is no MLflow run")


def assert_one_message(ended, hint):
    status, out, shown = ended
    error = json.loads(out)["error"]
    assert (status, hint in error) == (2, True), error
    assert "Traceback" not in shown
