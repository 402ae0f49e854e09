"""Mistakes in the use of `judge`, `audit` and `compare`: one message and status 2, before anything starts."""

import json

import pytest

from tasks.record.stage import execute


@pytest.fixture(autouse=True)
def _files(tmp_path):
    for name in ("most.json", "right.json"):
        rows = [{"instruction": f"Say {n}.", "output": str(n), "model_response": str(n)} for n in range(3)]
        (tmp_path / name).write_text(json.dumps(rows))
    for name, anchors in (("polite.yaml", "{0: rude, 5: polite}"), ("endless.yaml", "{0: rude}")):
        text = f"criteria:\n- name: polite\n  question: Is it polite?\n  anchors: {anchors}\n"
        (tmp_path / name).write_text(text)
    (tmp_path / "empty.yaml").write_text("judge: {}\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("judge", "nowhere.json"), "nowhere.json"),
        (("judge", "most.json", "--judge", "gpt-4"), "'gpt-4' is no scorer"),
        (("judge", "most.json", "--set", "judge.contxt=5"), "judge.context"),
        (("judge", "most.json", "--set", "pretrain.steps=5"), "settings of judge alone"),
        (("judge", "most.json", "--column", "answer"), "NAME=COLUMN"),
        (("compare", "right.json", "0123"), "there is no file of this name"),
        (("compare", "right.json", "most.json", "--pairwise"), "pairwise needs one judge"),
        (("audit", "--rows", "nowhere.json"), "nowhere.json"),
        (("audit", "--sample", "0"), "--sample"),
        (("judge", "most.json", "--criteria", "nowhere.yaml"), "there is no such file"),
        (("judge", "most.json", "--criteria", "polite.yaml"), "criteria are asked of a judge"),
        (("audit", "--criteria", "empty.yaml"), "expected a list under the name criteria, found judge"),
        (("audit", "--criteria", "polite.yaml", "--pairwise"), "by no criterion"),
        (("audit", "--criteria", "endless.yaml"), "judge.criteria.0.anchors: what 5 means is not said"),
    ],
)
def test_a_mistake_is_one_message(touchstone, arguments, hint):
    assert_one_message(touchstone(*arguments, "--json"), hint)


def test_a_run_that_there_is_not_is_one_message(touchstone, tmp_path, fresh_store):
    fresh_store(tmp_path / "mlruns")
    assert_one_message(
        touchstone("compare", "right.json", "0" * 32, "--json"), "is no run, no registered model"
    )


def assert_one_message(ended, hint):
    status, out, shown = ended
    error = json.loads(out)["error"]
    assert (status, hint in error) == (2, True), error
    assert "Traceback" not in shown


def test_misspelt_stage_is_refused_before_prefect_starts(touchstone, monkeypatch):
    monkeypatch.setattr("flows.server.readiness.begin_prefect", lambda: pytest.fail("it was started"))
    for command, name, stage in (("run", "pretrian", "pretrain"), ("preflight", "token", "tokenize")):
        assert_one_message(
            touchstone(command, "quickstart", "--refresh", name, "--json"),
            f"--refresh {name}: there is no such stage in this; did you mean {stage}?",
        )


def test_what_was_judged_before_is_told_without_prefect(touchstone, tmp_path, fresh_store, monkeypatch):
    fresh_store(tmp_path / "mlruns")
    monkeypatch.setattr("flows.server.readiness.begin_prefect", lambda: pytest.fail("it was started"))
    monkeypatch.setattr("flows.dispatch.lookup.find", lambda tracking, work, _: execute(tracking, work))

    status, out, shown = touchstone("judge", "right.json", "--json")
    assert status == 0, shown
    assert json.loads(out)["scores"][0]["mean"] == 100
