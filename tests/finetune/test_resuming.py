"""Every kind of fine-tuning, stopped wherever it is: it goes on from there, and no bit is another one."""

import json
import shutil
from functools import partial

import pytest
from transformers import Trainer

from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, DpoConfig, FinetuneConfig
from tasks.errors import StoppedError
from tasks.finetune.dpo import dpo
from tasks.finetune.sft import finetune
from tests.finetune.labelled_texts import gpt_in, message_tokenizer, text_rows_in
from tests.finetune.seq2seq_models import seq2seq_in
from tests.finetune.tuning import assert_same_outputs, base_in, rows_in, word_tokenizer
from tests.runs import stage_run_in

pytestmark = pytest.mark.usefixtures("one_thread")

# Four steps an epoch, of two micro-batches and the last of one; six steps, which end inside the second epoch.
SMALL = {
    "epochs": 1.5,
    "batch_size": 4,
    "accumulation": 2,
    "learning_rate": 1e-2,
    "evaluations": 3,
    "preflight": "warn",
    "device": "cpu",
}
STEPS = 6


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """For each kind a function that trains, given a run; models with dropout, so that lost chance shows."""
    folder = tmp_path_factory.mktemp("kinds")
    base = base_in(folder / "base", word_tokenizer(), dropout=0.1)
    texts = gpt_in(folder / "texts", message_tokenizer(), dropout=0.1)
    rows, labelled = rows_in(folder / "rows", train=25), text_rows_in(folder / "labelled", train=25)
    told = {"template": "phi3", "max_length": 64}
    return {
        "sft": partial(finetune, FinetuneConfig(**SMALL | told), base=base, rows=rows),
        "muon": partial(finetune, FinetuneConfig(**SMALL | told, optimizer="muon"), base=base, rows=rows),
        "seq2seq": partial(
            finetune,
            FinetuneConfig(**SMALL | told | {"template": "plain"}),
            base=seq2seq_in(folder / "seq2seq", "t5", dropout=0.1),
            rows=rows,
        ),
        "dpo": partial(dpo, DpoConfig(**SMALL | told), tuned=base, rows=rows),
        "classify": partial(
            classify,
            ClassifyConfig(**SMALL, tune="full", max_length=48),
            base=texts,
            rows=labelled,
        ),
    }


@pytest.fixture(scope="module")
def uninterrupted(kinds, tmp_path_factory):
    made = {}

    def run_of(kind):
        if kind not in made:
            made[kind] = stage_run_in(tmp_path_factory.mktemp(kind))
            kinds[kind](made[kind])
        return made[kind]

    return run_of


def attempt(train, folder, stop_at=None):
    """One attempt at a training, asked to stop when it has logged a step: its run, and what it said."""
    said = []
    run = stage_run_in(folder, say=said.append)
    run.progress = lambda done, *_: run.stop.set() if done == stop_at else None
    if stop_at is None:
        train(run)
    else:
        with pytest.raises(StoppedError, match=f"stopped after step {stop_at} of {STEPS}"):
            train(run)
    return run, said


@pytest.mark.parametrize(
    ("kind", "stops"),
    [
        ("sft", range(1, STEPS + 1)),
        ("muon", (3, 6)),
        ("seq2seq", (2, 3, 6)),
        ("dpo", (2, 4, 6)),
        ("classify", (1, 4, 6)),
    ],
)
def test_stopped_again_and_again_it_ends_with_the_same_bits(kinds, uninterrupted, tmp_path, kind, stops):
    """Of every other step it is stopped in the evaluation, which comes first when it goes on."""
    before = 0
    for step in stops:
        _, said = attempt(kinds[kind], tmp_path, stop_at=step)
        assert said == ([f"resumes at step {before} of {STEPS}"] if before else [])
        before = step
    run, said = attempt(kinds[kind], tmp_path)
    assert said == [f"resumes at step {STEPS} of {STEPS}"]
    assert_same_outputs(run, uninterrupted(kind))


@pytest.mark.parametrize("kind", ["sft", "seq2seq", "dpo", "classify"])
def test_stopped_between_micro_batches_it_does_the_step_again(
    kinds, uninterrupted, tmp_path, monkeypatch, kind
):
    run, step, calls = stage_run_in(tmp_path), Trainer.training_step, []

    def stopping(*arguments, **named):
        loss = step(*arguments, **named)
        calls.append(loss)
        if len(calls) == 3:
            run.stop.set()
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", stopping)
        with pytest.raises(StoppedError, match="stopped after step 1 of 6"):
            kinds[kind](run)
    assert len(calls) == 3, "the second micro-batch of the second step is left to the next attempt"
    assert_same_outputs(attempt(kinds[kind], tmp_path)[0], uninterrupted(kind))


class DiedError(Exception):
    pass


def test_crash_loses_only_what_came_after_the_last_checkpoint(kinds, uninterrupted, tmp_path):
    def die(done, *_):
        if done == 2:
            raise DiedError

    train, run = kinds["sft"], stage_run_in(tmp_path, progress=die)
    often = partial(train.func, train.args[0].model_copy(update={"checkpoint_every": 0.0}), **train.keywords)
    with pytest.raises(DiedError):
        often(run)
    run, said = attempt(often, tmp_path)
    assert said == ["resumes at step 1 of 6"]
    assert_same_outputs(run, uninterrupted("sft"))
    kept = {path.name for path in run.checkpoint.glob("checkpoint-*")}
    state = json.loads((run.checkpoint / "checkpoint-6" / "trainer_state.json").read_text())
    assert len(kept) == 2
    assert kept >= {"checkpoint-6", f"checkpoint-{state['best_global_step']}"}, "the newest and the best"


def test_a_checkpoint_is_whole_before_an_older_one_is_removed(kinds, tmp_path, monkeypatch):
    """A kill in between would leave none that can be continued from."""
    whole, remove = [], shutil.rmtree

    def watching(folder, *arguments, **named):
        whole.append(all((path / "complete.json").exists() for path in run.checkpoint.glob("checkpoint-*")))
        remove(folder, *arguments, **named)

    run = stage_run_in(tmp_path)
    monkeypatch.setattr(shutil, "rmtree", watching)
    kinds["sft"](run)
    assert whole
    assert all(whole)
