"""Several processes: the same steps as one, the same bits after a kill, errors as they were raised."""

import json
import signal
import time
from datetime import timedelta

import pytest
import torch

from tasks.batches.blocks import Batch
from tasks.config import PretrainConfig
from tasks.data.token_files import load_tokens
from tasks.distributed import launch, part
from tasks.distributed.worker import work
from tasks.models.architectures import build_model
from tasks.pretrain import loop, processes, speed
from tasks.pretrain.loop import micro_batches, train
from tests.pretrain.training import changed, curve, run_checkpoints, same_outputs, tokens_of, trained
from tests.runs import stage_run_in, summary_of, weights_in
from tests.together import Together, as_rank

PATIENCE = timedelta(seconds=2)
WITHOUT_DROPOUT = {"dropout": 0, "learning_rate": 1e-3, "document_mask": True}


@pytest.fixture
def together(forked):
    """A function that trains in several processes, and returns the run and their exit statuses."""
    running = Together(forked)

    def run(config, tokens, folder, last_step=None, asked=False):
        return running(train, config, {"tokens": tokens}, folder, last_step, asked)

    yield run
    running.end()


def assert_same_training(several, one):
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        assert curve(several, name) == pytest.approx(curve(one, name), rel=1e-5)
    for name, weight in weights_in(one).items():
        torch.testing.assert_close(weights_in(several)[name], weight, atol=1e-5, rtol=0)
    assert summary_of(several).keys() == summary_of(one).keys()


@pytest.mark.parametrize("sharding", ["none", pytest.param("fsdp", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("rows", "accumulation"), [(3, 1), (1, 3), (2, 4)])
def test_two_processes_make_the_steps_of_one(documents, tmp_path, together, sharding, rows, accumulation):
    """Of three sequences one process has one and the other two, in as many micro-batches or in more."""
    fields = WITHOUT_DROPOUT | {"batch_size": rows, "accumulation": accumulation}
    one = trained(changed(**fields), documents, tmp_path / "one")
    config = changed(**fields, processes=2, sharding=sharding)
    several, statuses = together(config, documents, tmp_path / "several")
    assert statuses == [0, 0]
    assert_same_training(several, one)


def test_process_with_a_row_less_takes_part_in_every_micro_batch():
    """It would be waited for without end: sharded parameters are put together in every forward."""
    batch = Batch(torch.arange(6).view(3, 2), torch.arange(1, 7).view(3, 2), torch.zeros(3, 2).long())
    assert [len(piece) for piece in micro_batches(batch, 2, 2)] == [2, 1]
    *whole, idle = micro_batches(batch, 1, 4)
    assert [piece.supervised() for piece in (*whole, idle)] == [2, 2, 2, 0]
    assert len(idle) == 1


def test_muon_steps_the_same_in_two_processes(documents, tmp_path, together):
    """To the bfloat16 that it computes in."""
    fields = WITHOUT_DROPOUT | {"optimizer": "muon", "batch_size": 3, "accumulation": 1}
    one = trained(changed(**fields), documents, tmp_path / "one")
    several, statuses = together(changed(**fields, processes=2), documents, tmp_path / "several")
    assert statuses == [0, 0]
    assert curve(several) == pytest.approx(curve(one), rel=1e-3)


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_model_of_hugging_face_trains_in_two_processes(documents, tmp_path, together, sharding):
    """Its samples too, which transformers decodes without the wrapper that the loop calls."""
    fields = WITHOUT_DROPOUT | {"steps": 4}
    build_model(changed(**fields), load_tokens(documents)).save(tmp_path / "start")
    fields |= {"model": str(tmp_path / "start"), "weights": "pretrained"}
    one = trained(changed(**fields), documents, tmp_path / "one")
    config = changed(**fields, processes=2, sharding=sharding)
    several, statuses = together(config, documents, tmp_path / "several")
    assert statuses == [0, 0]
    assert_same_training(several, one)
    samples = [(run.auxiliary / "samples.txt").read_text() for run in (several, one)]
    assert samples[0] == samples[1]


# The checks, however long they take


def work_of(task, rank, path, port):
    """A worker whose checks take twice as long as its group has patience."""
    torch.set_num_threads(1)
    speed.MATRIX_SIDE["cpu"] = 64
    job = json.loads(path.read_text())
    if task == "train":
        as_rank(rank, 2, port)
    check, processes.PATIENCE = loop.preflight_pretraining, PATIENCE

    def slowly(*arguments):
        assert not torch.distributed.is_initialized(), "others of a group would wait for this"
        time.sleep(2 * PATIENCE.total_seconds())
        return check(*arguments)

    loop.preflight_pretraining = slowly
    work(job, task, stage_run_in(path.parent.parent), rank == 0)


def wait_in_a_group(rank, port):
    as_rank(rank, 2, port)
    processes.PATIENCE = PATIENCE
    group = processes.Processes(changed(processes=2))
    if rank == 0:
        time.sleep(2 * PATIENCE.total_seconds())
    group.wait()


@pytest.mark.slow
def test_checks_may_take_longer_than_a_group_waits(documents, tmp_path, forked, monkeypatch):
    """Regression: all waited for the first, beyond 20 billion tokens for more than ten minutes."""
    running = Together(forked)

    def start(task, path, count, _run):
        statuses = running.start(work_of, [(task, rank, path) for rank in range(count)])
        assert statuses == [0] * count

    monkeypatch.setattr(launch, "_work", start)
    run = trained(changed(**WITHOUT_DROPOUT, processes=2), documents, tmp_path / "run")
    assert json.loads((run.out / "preflight.json").read_text())["verdict"] == "passed"
    assert_same_training(run, trained(changed(**WITHOUT_DROPOUT), documents, tmp_path / "one"))
    assert 0 not in running.start(wait_in_a_group, [(0,), (1,)]), "it is to be too long for a group"
    running.end()


def test_a_group_waits_for_a_large_checkpoint():
    """GPT-2's largest weights with their moments, and the best ones, written and hashed at 50 MB/s."""
    layers, _, width = PretrainConfig(size="1558M").shape()
    weights = 12 * layers * width**2 + 50_257 * width
    seconds = 2 * weights * 4 * (3 + 1) / 50e6
    assert 10 * 60 < seconds < part.PATIENCE.total_seconds()


# Exact resume (pitfall 18)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_killed_processes_are_continued_to_the_same_bits(documents, tmp_path, together, sharding):
    """With dropout: each process has random numbers of its own."""
    config = changed(document_mask=True, processes=2, sharding=sharding)
    whole, _ = together(config, documents, tmp_path / "whole")
    _, killed = together(config, documents, tmp_path / "killed", last_step=5)
    assert killed == [-signal.SIGKILL] * 2
    again, statuses = together(config, documents, tmp_path / "killed")
    assert statuses == [0, 0]
    assert same_outputs(again, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "step"), [("none", 5), ("fsdp", 4)])
def test_two_processes_stop_together_and_resume_to_the_same_bits(
    documents, tmp_path, together, sharding, step
):
    """After a step, and in an evaluation; one of the two is asked to stop."""
    config = changed(document_mask=True, processes=2, sharding=sharding)
    whole, _ = together(config, documents, tmp_path / "whole")
    _, statuses = together(config, documents, tmp_path / "stopped", last_step=step, asked=True)
    assert statuses == [0, 0]
    assert run_checkpoints(tmp_path / "stopped")[-1] == f"step-{step:09d}.pt"
    again, _ = together(config, documents, tmp_path / "stopped")
    assert same_outputs(again, whole)


def test_what_two_processes_began_one_can_end(documents, tmp_path, together):
    config = changed(**WITHOUT_DROPOUT, processes=2)
    together(config, documents, tmp_path, last_step=5)
    steps = []
    watched = {"progress": lambda done, *_: steps.append(done)}
    alone = trained(changed(**WITHOUT_DROPOUT), documents, tmp_path, **watched)
    assert steps == [4, 5, 6, 7, 8, 9]
    assert_same_training(alone, trained(changed(**WITHOUT_DROPOUT), documents, tmp_path / "one"))


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_masked_model_trains_in_two_processes(tmp_path, together, sharding):
    """Each masks its own share of a batch as one process would, and measures its share of the evaluation."""
    texts = [f"the cat number {number} sat on mat {number % 7}" for number in range(60)]
    tokens = tokens_of(texts, tmp_path, mask_token=True)
    fields = WITHOUT_DROPOUT | {
        "objective": "masked",
        "architecture": "bert",
        "steps": 4,
        "sample_prompt": "",
    }
    fields |= {"batch_size": 3, "accumulation": 1}
    one = trained(changed(**fields), tokens, tmp_path / "one")
    config = changed(**fields, processes=2, sharding=sharding)
    several, statuses = together(config, tokens, tmp_path / "several")
    assert statuses == [0, 0]
    assert_same_training(several, one)
    for name in ("masked_accuracy", "pseudo_perplexity"):
        assert curve(several, name) == pytest.approx(curve(one, name), rel=1e-4)
    samples = [(run.auxiliary / "samples.txt").read_text() for run in (several, one)]
    assert samples[0] == samples[1]
