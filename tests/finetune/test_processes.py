"""Fine-tuning in several processes: the steps of one, the same bits after a kill, one device a process."""

import signal

import pytest
import torch
from torch.nn import functional as F

from tasks.classify import stage as classify_stage
from tasks.classify.stage import classify, learn_labels
from tasks.config import ClassifyConfig, DpoConfig, FinetuneConfig
from tasks.errors import StageError
from tasks.finetune import dpo, seq2seq, sft
from tasks.finetune.dpo import prefer
from tasks.finetune.sft import finetune, tune
from tasks.finetune.sharing import Shares, micro_batches, without_targets
from tasks.machine.device import pick_device
from tests.finetune.labelled_texts import gpt_in, message_tokenizer, text_rows_in
from tests.finetune.tuning import (
    assert_same_outputs,
    base_in,
    history_in,
    mixed_rows_in,
    rows_in,
    word_tokenizer,
)
from tests.runs import stage_run_in, summary_of, weights_in
from tests.together import Together

pytestmark = pytest.mark.usefixtures("one_thread")

# 25 rows: the last step of an epoch has one, which one of two processes does.
SOURCES = ["a.json"] * 5 + ["b.json", None]
SMALL = {
    "epochs": 1.5,
    "batch_size": 4,
    "accumulation": 2,
    "learning_rate": 1e-3,
    "evaluations": 2,
    "preflight": "warn",
    "device": "cpu",
}
TRAIN = {"sft": tune, "packed": tune, "mixed": tune, "dpo": prefer, "lora": prefer, "classify": learn_labels}
STAGE = {
    "sft": finetune,
    "packed": finetune,
    "mixed": finetune,
    "dpo": dpo.dpo,
    "lora": dpo.dpo,
    "classify": classify,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """For each kind its inputs, of a model with as much dropout as asked for."""
    made = {}

    def of(kind, dropout=0.0):
        if (kind, dropout) not in made:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "classify":
                base = gpt_in(folder / "base", message_tokenizer(), dropout=dropout)
                made[kind, dropout] = {"base": base, "rows": text_rows_in(folder / "rows", train=25)}
            else:
                base = base_in(folder / "base", word_tokenizer(), dropout=dropout)
                name = "tuned" if STAGE[kind] is dpo.dpo else "base"
                rows = folder / "rows"
                mixed_rows_in(rows, SOURCES) if kind == "mixed" else rows_in(rows, train=25)
                made[kind, dropout] = {name: base, "rows": rows}
        return made[kind, dropout]

    return of


def config_of(kind, **fields):
    fields = SMALL | fields
    if kind == "classify":
        return ClassifyConfig(**fields, tune="full", max_length=48)
    told = {"template": "phi3", "max_length": 64}
    if kind == "lora":
        told |= {"tune": "lora", "lora": {"rank": 2}}
    if STAGE[kind] is dpo.dpo:
        return DpoConfig(**fields | told)
    return FinetuneConfig(**fields | told, packing=kind == "packed")


@pytest.fixture
def together(processes):
    forked = Together(processes)
    yield forked
    forked.end()


def alone(kind, inputs, folder, **fields):
    run = stage_run_in(folder)
    STAGE[kind](config_of(kind, **fields), run, **inputs)
    return run


NUMBERS = ("train_loss", "validation_loss", "gradient_norm", "reward_margin", "validation_accuracy")
NUMBERS += ("validation_loss/a.json", "validation_loss/b.json")


@pytest.mark.parametrize("kind", TRAIN)
@pytest.mark.parametrize(
    ("rows", "accumulation"), [pytest.param(4, 2, marks=pytest.mark.slow), (1, 3)], ids=str
)
def test_two_processes_make_the_steps_of_one(inputs, tmp_path, together, kind, rows, accumulation):
    """Of three rows one process has one and the other two; of the one that an epoch ends with, none."""
    fields = {"batch_size": rows, "accumulation": accumulation}
    given = inputs(kind)
    one = alone(kind, given, tmp_path / "one", **fields)
    config = config_of(kind, **fields, processes=2)
    several, statuses = together(TRAIN[kind], config, given, tmp_path / "several")
    assert statuses == [0, 0]
    assert summary_of(several)["steps"] == summary_of(one)["steps"]
    for name in NUMBERS:
        assert history_in(several, name) == pytest.approx(history_in(one, name), rel=2e-4, abs=1e-6), name
    for name, weight in weights_in(one).items():
        torch.testing.assert_close(weights_in(several)[name], weight, atol=2e-5, rtol=0)
    names = [sorted(path.name for path in run.out.iterdir()) for run in (several, one)]
    assert set(names[1]) - set(names[0]) == {"preflight.json"}, "which the process that launches them writes"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo", "classify"])
@pytest.mark.parametrize("asked", [False, True], ids=["killed", "asked to stop"])
def test_two_processes_are_continued_to_the_same_bits(inputs, tmp_path, together, kind, asked):
    """With dropout, of which each process has its own; one of the two is asked to stop, in an evaluation."""
    given, config = inputs(kind, 0.1), config_of(kind, processes=2)
    whole, _ = together(TRAIN[kind], config, given, tmp_path / "whole")
    _, statuses = together(TRAIN[kind], config, given, tmp_path / "ended", 3 if asked else 4, asked)
    assert statuses == ([0, 0] if asked else [-signal.SIGKILL] * 2)
    kept = sorted(path.name for path in (tmp_path / "ended" / "checkpoint").glob("checkpoint-*"))
    assert kept == ["checkpoint-3"]
    again, statuses = together(TRAIN[kind], config, given, tmp_path / "ended")
    assert statuses == [0, 0]
    assert_same_outputs(again, whole)


def test_what_two_processes_began_one_can_end(inputs, tmp_path, together):
    given = inputs("sft")
    together(tune, config_of("sft", processes=2), given, tmp_path / "run", 4)
    steps = []
    run = stage_run_in(tmp_path / "run", progress=lambda done, *_: steps.append(done))
    finetune(config_of("sft"), run, **given)
    assert steps[0] == 4
    one = alone("sft", given, tmp_path / "one")
    assert history_in(run, "train_loss") == pytest.approx(history_in(one, "train_loss"), rel=1e-4)


@pytest.mark.slow
def test_a_process_has_dropout_of_its_own(inputs, tmp_path, together):
    given, config = inputs("sft", 0.1), config_of("sft", processes=2)
    several, _ = together(tune, config, given, tmp_path / "several")
    assert history_in(several, "train_loss") != history_in(
        alone("sft", given, tmp_path / "one"), "train_loss"
    )


@pytest.mark.slow
def test_torchrun_starts_them_behind_the_checks(inputs, tmp_path, capfd):
    done, told = [], []
    run = stage_run_in(tmp_path / "run", progress=lambda *news: done.append(news[0]), phase=told.append)
    given = inputs("classify")
    classify(config_of("classify", processes=2), run, **given)
    assert capfd.readouterr().out == ""
    one = alone("classify", given, tmp_path / "one")
    assert history_in(run, "train_loss") == pytest.approx(history_in(one, "train_loss"), rel=1e-4)
    assert sorted(path.name for path in run.out.iterdir()) == sorted(path.name for path in one.out.iterdir())
    assert {what.split(":")[0] for what in told} >= {"check 1 of 10", "the first step", "writing the model"}
    assert run.metrics["train_loss"] == history_in(run, "train_loss")[-1]
    assert 6 in done


# The shares of a step


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "processes"),
    [(25, 4, 2, 2), (25, 1, 3, 2), (7, 2, 4, 3), (8, 8, 1, 8), (1, 4, 2, 2), (9, 3, 3, 2)],
)
def test_rows_count_once_and_processes_do_equally_many_batches(rows, batch, accumulation, processes):
    fields = {"batch_size": batch, "accumulation": accumulation}
    config = config_of("sft", **fields, processes=processes)
    shares = [Shares(rows, config, rank) for rank in range(processes)]
    (whole,) = [Shares(rows, config_of("sft", **fields), 0)]
    for epoch in (0, 3):
        for share in (*shares, whole):
            share.set_epoch(epoch)
        read, order = [list(share) for share in shares], [place for own in whole for place in own]
        assert sorted(order) == list(range(rows))
        assert {len(own) for own in read} == {len(share) for share in shares} == {len(shares[0])}
        assert all(own and len(own) <= batch for pieces in read for own in pieces)
        at, step = 0, batch * accumulation
        for start in range(0, rows, step):
            members = order[start : start + step]
            here = [pieces[at : at + micro_batches(config, len(members))] for pieces in read]
            counted = [place for pieces in here for own in pieces for place in own if place >= 0]
            assert counted == members
            at += micro_batches(config, len(members))


def test_a_batch_without_targets_teaches_nothing():
    labels = torch.tensor([[-100, 5, 6]])
    assert without_targets({"labels": labels})["labels"].tolist() == [[-100] * 3]
    assert F.cross_entropy(torch.randn(3, 9), torch.tensor([-100] * 3), reduction="sum") == 0
    assert without_targets({"completion_mask": labels})["completion_mask"].tolist() == [[0] * 3]


def test_each_process_needs_a_row():
    with pytest.raises(ValueError, match=r"4 processes need a row each; batch_size x accumulation is 3"):
        config_of("sft", batch_size=1, accumulation=3, processes=4)


# Several visible GPUs (pitfall 33)


@pytest.fixture
def gpus(monkeypatch):
    """What Transformers sees of a machine with three GPUs that is asked to train on one of them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for room in (sft, seq2seq, dpo, classify_stage):
        monkeypatch.setattr(room, "pick_device", lambda wanted: torch.device("cuda"))


@pytest.mark.parametrize("kind", ["sft", "dpo", "classify"])
@pytest.mark.filterwarnings("ignore:.*pin_memory")
def test_one_process_takes_one_of_several_gpus(inputs, tmp_path, gpus, monkeypatch, kind):
    """Regression: a DataParallel of three trained on three times the rows of a step."""
    given, made = inputs(kind), []

    class Recorded(torch.nn.DataParallel):
        def __init__(self, model):
            made.append(model)
            super().__init__(model)

    monkeypatch.setattr(torch.nn, "DataParallel", Recorded)
    several = alone(kind, given, tmp_path / "several", device="auto")
    monkeypatch.undo()
    assert made == []
    assert_same_outputs(several, alone(kind, given, tmp_path / "one"))


def test_more_processes_than_gpus_are_an_error(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto").type == "cuda"
    with pytest.raises(StageError, match="processes is 2, and torch sees 1 CUDA devices"):
        alone("sft", inputs("sft"), tmp_path, processes=2, device="auto")
