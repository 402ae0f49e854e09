"""Weights kept by what the model responds to validation rows: which step, what is told, a stop in between."""

import json

import pytest
from pydantic import ValidationError

from tasks.config import DpoConfig, FinetuneConfig
from tasks.errors import StageError, StoppedError, UsageError
from tasks.finetune import scored
from tasks.finetune.dpo import dpo
from tasks.finetune.seq2seq import tune_seq2seq
from tasks.finetune.sft import finetune
from tasks.report.training import kept_text
from tests.finetune.tuning import CONTEXT, assert_same_outputs, base_in, rows_in, tuned, word_tokenizer
from tests.runs import stage_run_in, summary_of, weights_in

SETTINGS = {
    "template": "phi3",
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 2e-2,
    "max_length": CONTEXT,
    "evaluations": 4,
    "device": "cpu",
}
BY_LOSS = FinetuneConfig(**SETTINGS)
BY_CHRF = FinetuneConfig(**SETTINGS, keep_by="chrf", keep_rows=5)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    return base_in(folder / "base", word_tokenizer(), 0.1), rows_in(folder / "rows")


@pytest.fixture
def scores(monkeypatch):
    """Scores in the order of the evaluations, whatever is responded."""

    def given(*values):
        left = list(values)
        monkeypatch.setattr(scored, "fmean", lambda pairs: (list(pairs), left.pop(0))[1])

    return given


def history_of(run):
    lines = (run.out / "history.jsonl").read_text().splitlines()
    return {entry["step"]: entry for entry in map(json.loads, lines) if "validation_loss" in entry}


def test_the_best_score_is_kept_and_not_the_lowest_loss(inputs, tmp_path, scores):
    scores(20.0, 60.0, 60.0, 30.0)
    told = []
    run = tuned(BY_CHRF, *inputs, tmp_path / "run", say=told.append)
    history, summary = history_of(run), summary_of(run)
    assert [entry["validation_score"] for entry in history.values()] == [20.0, 60.0, 60.0, 30.0]
    second = list(history)[1]
    assert summary["best_step"] == second
    assert summary["best_validation_score"] == 60.0
    assert summary["best_validation_loss"] == history[second]["validation_loss"]
    lowest = min(history, key=lambda step: history[step]["validation_loss"])
    assert summary["lowest_loss_step"] == lowest != second
    assert (summary["keep_by"], summary["keep_rows"]) == ("chrf", 5)
    assert any(f"kept step {second}" in line and f"lowest at step {lowest}" in line for line in told)
    assert f"lowest at step {lowest}, whose responses score less" in kept_text(summary)


def test_the_weights_are_those_of_the_step(inputs, tmp_path, scores):
    by_loss = tuned(BY_LOSS, *inputs, tmp_path / "loss")
    steps = list(history_of(by_loss))
    place = steps.index(summary_of(by_loss)["best_step"])
    scores(*(100.0 if place == here else 0.0 for here in range(len(steps))))
    by_score = tuned(BY_CHRF, *inputs, tmp_path / "score")
    ours, theirs = weights_in(by_score), weights_in(by_loss)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert "lowest_loss_step" not in summary_of(by_score)
    assert "its lowest" in kept_text(summary_of(by_score))


def test_responding_changes_no_loss_and_by_loss_nothing_is_told(inputs, tmp_path):
    by_loss = tuned(BY_LOSS, *inputs, tmp_path / "loss")
    by_chrf = tuned(BY_CHRF, *inputs, tmp_path / "chrf")
    losses = [entry["validation_loss"] for entry in history_of(by_loss).values()]
    assert [entry["validation_loss"] for entry in history_of(by_chrf).values()] == losses
    assert all(0 <= entry["validation_score"] <= 100 for entry in history_of(by_chrf).values())
    assert not {"keep_by", "best_validation_score"} & summary_of(by_loss).keys()


def test_a_stop_while_responding_is_continued_to_the_same_bits(inputs, tmp_path, monkeypatch):
    whole = tuned(BY_CHRF, *inputs, tmp_path / "whole")
    run = stage_run_in(tmp_path / "stopped")
    own, asked = scored.decoded, []

    def stopping(model, tokenizer, config, prompts, budget, stop):
        asked.append(1)
        if len(asked) == 2:
            run.stop.set()
        return own(model, tokenizer, config, prompts, budget, stop)

    monkeypatch.setattr(scored, "decoded", stopping)
    base, rows = inputs
    with pytest.raises(StoppedError, match="stopped after step"):
        finetune(BY_CHRF, run, base=base, rows=rows)
    assert not (run.out / "summary.json").exists()
    assert_same_outputs(tuned(BY_CHRF, base, rows, tmp_path / "stopped"), whole)


def test_preferences_are_kept_by_a_score_too(inputs, tmp_path, scores):
    scores(50.0, 40.0)
    config = DpoConfig(**SETTINGS | {"evaluations": 2, "epochs": 1}, keep_by="exact")
    run = stage_run_in(tmp_path / "run")
    dpo(config, run, tuned=inputs[0], rows=inputs[1])
    summary = summary_of(run)
    assert summary["best_validation_score"] == 50.0
    assert summary["best_step"] == min(history_of(run))


def test_without_references_it_is_refused(inputs, tmp_path):
    rows = rows_in(tmp_path / "rows", validation=0)
    with pytest.raises(StageError, match="no validation row has a reference"):
        tuned(BY_CHRF, inputs[0], rows, tmp_path / "run")


def test_several_processes_and_encoder_decoders_are_refused(inputs, tmp_path):
    with pytest.raises(ValidationError, match="written by one process"):
        FinetuneConfig(**SETTINGS, keep_by="exact", processes=2)
    with pytest.raises(UsageError, match="kept by their loss alone"):
        tune_seq2seq(BY_CHRF, stage_run_in(tmp_path / "run"), None, base=inputs[0], rows=inputs[1])


def test_by_loss_the_key_is_what_it_was():
    assert not {"keep_by", "keep_rows"} & BY_LOSS.key_fields().keys()
    assert BY_CHRF.key_fields()["keep_by"] == "chrf"
