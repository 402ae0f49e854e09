"""A training that was killed ends with the same bits as one that was not (pitfall 18)."""

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tasks.errors import StageError, StoppedError
from tasks.machine.stopping import Pace, is_stoppable
from tasks.models.gpt import GPT
from tasks.pretrain import loop
from tasks.pretrain.checkpoints import Checkpoints
from tasks.pretrain.loop import Trainer
from tasks.pretrain.processes import Processes
from tasks.pretrain.stage import pretrain
from tests.pretrain.training import (
    MUON_APART,
    SMALL,
    Stopped,
    changed,
    curve,
    run_checkpoints,
    same_outputs,
    stopped_after,
    stopping_after,
    trained,
    until,
)
from tests.reading_faults import READING_FAULTS, failing_with, files_of, flip_a_bit
from tests.runs import die, stage_run_in

# Of each kind of training: the options, and the tokens that it is given.
KINDS = {"adamw": SMALL, "muon": MUON_APART}


@pytest.fixture(scope="module")
def uninterrupted(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {kind: trained(config, documents, folder / kind) for kind, config in KINDS.items()}


@pytest.fixture(scope="module")
def stopped(documents, tmp_path_factory):
    """A training that died after its seventh step, with checkpoints of the fourth and the sixth."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stopped):
        trained(SMALL, documents, folder, progress=stopping_after(7))
    return folder


@pytest.mark.parametrize(
    ("kind", "stop"),
    [("adamw", stop) for stop in (1, 2, 3, 6, 8, 9)] + [("muon", stop) for stop in (1, 3, 8)],
)
def test_a_stopped_training_ends_with_the_same_bits(uninterrupted, documents, tmp_path, kind, stop):
    config = KINDS[kind]
    with pytest.raises(Stopped):
        trained(config, documents, tmp_path, progress=stopping_after(stop))
    steps = []
    run = trained(config, documents, tmp_path, progress=lambda done, *_: steps.append(done))
    assert same_outputs(run, uninterrupted[kind])
    kept = (stop - 1) // config.eval_every * config.eval_every
    assert steps == list(range(kept if kept else 1, 10)), "it continued from its last checkpoint"
    assert run.metrics.keys() >= uninterrupted[kind].metrics.keys() - {"tokens_per_second", "utilisation"}


@pytest.mark.parametrize("kind", KINDS)
def test_training_stopped_repeatedly_ends_with_the_same_bits(uninterrupted, documents, tmp_path, kind):
    for stop in (3, 5, 7, 9):
        with pytest.raises(Stopped):
            trained(KINDS[kind], documents, tmp_path, progress=stopping_after(stop))
    assert same_outputs(trained(KINDS[kind], documents, tmp_path), uninterrupted[kind])


def test_a_lost_random_state_would_be_caught(uninterrupted, documents, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        trained(SMALL, documents, tmp_path, progress=stopping_after(5))
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    assert not same_outputs(trained(SMALL, documents, tmp_path), uninterrupted["adamw"])


def test_a_lost_momentum_would_be_caught(uninterrupted, documents, tmp_path):
    with pytest.raises(Stopped):
        trained(MUON_APART, documents, tmp_path, progress=stopping_after(5))
    for path in (tmp_path / "checkpoint").glob("step-*"):
        state = torch.load(path, weights_only=True)
        for moments in state["optimizer"]["state"].values():
            if "momentum" in moments:
                moments["momentum"].zero_()
        Checkpoints(path.parent).keep(state["progress"]["step"], state)
    assert not same_outputs(trained(MUON_APART, documents, tmp_path), uninterrupted["muon"])


def test_the_precision_of_the_first_attempt_is_kept(documents, tmp_path, monkeypatch):
    """`auto` may choose another one on the machine where the training is continued."""
    config = changed(precision="auto")
    monkeypatch.setattr(loop, "pick_precision", lambda *_: "bfloat16")
    whole = trained(config, documents, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(config, documents, tmp_path / "stopped", progress=stopping_after(5))
    monkeypatch.setattr(loop, "pick_precision", lambda *_: "float32")
    assert same_outputs(trained(config, documents, tmp_path / "stopped"), whole)


def test_two_checkpoints_are_kept_at_most(documents, tmp_path):
    kept = []
    trained(SMALL, documents, tmp_path, progress=lambda *_: kept.append(len(run_checkpoints(tmp_path))))
    assert max(kept) == 2
    assert run_checkpoints(tmp_path) == ["step-000000008.pt", "step-000000009.pt"]


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damaged", "continued"),
    [
        (["step-000000006.pt"], 4),
        (["step-000000006.pt", "step-000000004.pt"], 0),
        (["best.pt"], 0),
    ],
    ids=str,
)
def test_a_damaged_checkpoint_is_left_out(uninterrupted, documents, tmp_path, caplog, damaged, continued):
    with pytest.raises(Stopped):
        trained(SMALL, documents, tmp_path, progress=stopping_after(7))
    assert run_checkpoints(tmp_path) == ["step-000000004.pt", "step-000000006.pt"]
    for name in damaged:
        damage(tmp_path / "checkpoint" / name)
    steps = []
    run = trained(SMALL, documents, tmp_path, progress=lambda done, *_: steps.append(done))
    assert steps[0] == (continued or 1)
    assert "is left out" in caplog.text
    assert same_outputs(run, uninterrupted["adamw"])


@pytest.mark.parametrize(
    "reader",
    [
        "tasks.record.seals.read_sha256",
        "tasks.pretrain.checkpoints.torch.load",
        "pathlib.Path.iterdir",
        "pathlib.Path.stat",
        "pathlib.Path.read_bytes",
    ],
)
@pytest.mark.parametrize("error", READING_FAULTS, ids=repr)
def test_a_checkpoint_that_cannot_be_read_is_no_damaged_one(stopped, tmp_path, reader, error):
    """Pitfalls 32 and 45: it was deleted, and the training began again at its first step."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    before = files_of(tmp_path / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, failing_with(error))
        with pytest.raises(StageError, match=r"could not be read .* It is kept as it is") as caught:
            Checkpoints(tmp_path / "checkpoint").newest()
    assert (str(error) or "MemoryError") in str(caught.value)
    assert files_of(tmp_path / "checkpoint") == before


def test_what_could_not_be_read_is_continued_from_when_it_can(stopped, uninterrupted, documents, tmp_path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.pretrain.checkpoints.torch.load", failing_with(MemoryError()))
        with pytest.raises(StageError, match="for want of memory"):
            trained(SMALL, documents, tmp_path)
    steps = []
    run = trained(SMALL, documents, tmp_path, progress=lambda done, *_: steps.append(done))
    assert steps[0] == 6
    assert same_outputs(run, uninterrupted["adamw"])


@pytest.mark.parametrize("name", ["step-000000006.pt", "best.pt"])
def test_one_bit_is_damage(stopped, tmp_path, name):
    """Of a tensor, whose bytes torch reads without a question."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoint" / name
    flip_a_bit(path)
    found = Checkpoints(path.parent).newest()
    assert (found and found["progress"]["step"]) == (4 if name.startswith("step") else None)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_best_model_whose_writing_was_cut_is_the_old_or_the_new(tmp_path, monkeypatch, moment):
    """A kill between the checksum and the name leaves one of the two, and neither is damaged."""
    checkpoints, replace = Checkpoints(tmp_path), Path.replace
    checkpoints.keep_best({"weight": 1})
    checkpoints.keep(2, {"progress": {"best_loss": 1.0}})

    def dying(path, target):
        if path.name == "best.part":
            if moment == "after":
                replace(path, target)
            raise Stopped
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Stopped):
        checkpoints.keep_best({"weight": 2})
    assert checkpoints.newest() is not None
    assert checkpoints.best_weights() == {"weight": 1 if moment == "before" else 2}


def test_checkpoints_whose_checksums_are_gone_are_kept(stopped, tmp_path):
    """Nothing shows that they are damaged."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoint" / "checksums.json").unlink()
    with pytest.raises(StageError, match=r"checksums.json does not tell of step-000000006.pt"):
        Checkpoints(tmp_path / "checkpoint").newest()
    assert run_checkpoints(tmp_path) == ["step-000000004.pt", "step-000000006.pt"]


def test_what_was_learnt_before_is_shown_again(uninterrupted, documents, tmp_path):
    """The MLflow run of the attempt that ends it has the whole curve."""
    with pytest.raises(Stopped):
        trained(SMALL, documents, tmp_path, progress=stopping_after(7))
    logged = []
    run = stage_run_in(tmp_path)
    run.log_metrics = lambda values, step=0: logged.append((step, values.get("train_loss")))
    trainer = Trainer(SMALL, run, documents)
    trainer.prepare()
    trainer.resume()
    losses = curve(uninterrupted["adamw"])[:6]
    assert [(step, loss) for step, loss in logged if loss is not None] == list(enumerate(losses, start=1))


# Asked to stop


@pytest.mark.parametrize("kind", KINDS)
def test_training_stopped_at_every_step_ends_with_the_same_bits(uninterrupted, documents, tmp_path, kind):
    """Of every other step it is stopped in the evaluation, which comes first when it goes on."""
    config = KINDS[kind]
    for step in range(1, config.steps + 1):
        said = stopped_after(step, config, documents, tmp_path)
        assert said == ([f"resumes at step {step - 1} of 9"] if step > 1 else [])
    assert same_outputs(trained(config, documents, tmp_path), uninterrupted[kind])


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_step_stopped_between_its_micro_batches_is_done_again(
    uninterrupted, documents, tmp_path, monkeypatch, micro_batch
):
    run, backward, calls = stage_run_in(tmp_path), Processes.backward, []

    def stopping(self, loss):
        backward(self, loss)
        calls.append(loss)
        if len(calls) == micro_batch:
            run.stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(Processes, "backward", stopping)
        with pytest.raises(StoppedError, match=f"stopped after step {micro_batch // 2} of 9"):
            pretrain(SMALL, run, tokens=documents)
    assert len(calls) == micro_batch, "the next micro-batch is left to the next attempt"
    assert same_outputs(trained(SMALL, documents, tmp_path), uninterrupted["adamw"])


def test_interruption_is_raised_once_the_checkpoint_is_written(uninterrupted, documents, tmp_path):
    """The signal reaches the main thread, which waits; the training heeds it at its next step."""

    def interrupt(done, *_):
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)
            until(run.stop.is_set)

    run = stage_run_in(tmp_path, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain(SMALL, run, tokens=documents)
    assert run_checkpoints(tmp_path)[-1] == "step-000000003.pt"
    assert not is_stoppable()
    assert same_outputs(trained(SMALL, documents, tmp_path), uninterrupted["adamw"])


def test_a_full_disk_leaves_the_checkpoint_before(uninterrupted, documents, tmp_path, caplog, monkeypatch):
    run = stage_run_in(tmp_path)

    def full(_state, path):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupt(done, *_):
        if done == 5:
            monkeypatch.setattr(torch, "save", full)
            os.kill(os.getpid(), signal.SIGINT)
            until(run.stop.is_set)

    run.progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        pretrain(SMALL, run, tokens=documents)
    assert "the checkpoint could not be written: [Errno 28] No space left" in caplog.text
    assert not list((tmp_path / "checkpoint").glob("*.part")), "it gives back the space that it took"
    monkeypatch.undo()
    said = []
    assert same_outputs(trained(SMALL, documents, tmp_path, say=said.append), uninterrupted["adamw"])
    assert said == ["resumes at step 4 of 9"]


# Checkpoints by the clock


def test_a_crash_before_the_first_evaluation_loses_a_step(documents, tmp_path):
    config = changed(eval_every=100, checkpoint_every=0)
    whole = trained(config, documents, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(config, documents, tmp_path / "died", progress=stopping_after(6))
    said = []
    run = trained(config, documents, tmp_path / "died", say=said.append)
    assert said == ["resumes at step 5 of 9"]
    assert same_outputs(run, whole)


def test_checkpoint_is_due_after_a_minute_and_a_20th_of_steps():
    clock = iter((0, 59, 60, 500, 1000, 1059, 1060)).__next__
    pace = Pace(60.0, 200, clock=clock)
    assert not pace.is_due(50), "59 seconds"
    assert pace.is_due(10), "60 seconds, 10 steps"
    assert not pace.is_due(9), "9 steps: the clock is not asked"
    assert pace.is_due(10), "500 seconds"
    pace.wrote(10)
    assert not pace.is_due(150), "59 seconds"
    assert not pace.is_due(19), "9 steps"
    assert pace.is_due(20), "60 seconds, 10 steps"


# Real processes


def when_saving(name, share):
    """A `torch.save` that dies with `share` of the file called `name` on the disk."""
    save = torch.save

    def dying(state, path):
        save(state, path)
        if path.name == name:
            os.truncate(path, int(path.stat().st_size * share))
            die()

    torch.save = dying


def when_called(owner, method, name):
    """A method of paths that dies instead of doing its work on the path called `name`."""
    original = getattr(owner, method)

    def dying(path, *args, **kwargs):
        if path.name == name:
            die()
        return original(path, *args, **kwargs)

    setattr(owner, method, dying)


def when_writing_the_model():
    save = GPT.save

    def dying(model, folder):
        save(model, folder)
        os.truncate(folder / "model.safetensors", 1000)
        die()

    GPT.save = dying


# In the child alone: each replaces something in the process that is then killed.
MOMENTS = {
    "in the first step": lambda: setattr(loop, "lr_multiplier", lambda *_: die()),
    "half of the first best model is written": lambda: when_saving("best.part", 0.5),
    "half of the first checkpoint is written": lambda: when_saving("step-000000002.part", 0.5),
    "a checkpoint is begun": lambda: when_saving("step-000000004.part", 0.0),
    "a checkpoint is whole but not in place": lambda: when_called(Path, "replace", "step-000000006.part"),
    "an old checkpoint is to be removed": lambda: when_called(Path, "unlink", "step-000000002.pt"),
    "half of the last checkpoint is written": lambda: when_saving("step-000000009.part", 0.9),
    "the outputs are being written": when_writing_the_model,
}
MUON_MOMENTS = (
    "half of the first checkpoint is written",
    "a checkpoint is whole but not in place",
    "the outputs are being written",
)


def train_until(moment, kind, tokens, folder):
    torch.set_num_threads(1)
    MOMENTS[moment]()
    trained(KINDS[kind], tokens, folder)


@pytest.mark.parametrize(
    ("kind", "moment"),
    [("adamw", moment) for moment in MOMENTS] + [("muon", moment) for moment in MUON_MOMENTS],
)
def test_a_killed_process_is_continued_to_the_same_bits(
    uninterrupted, documents, tmp_path, forked, kind, moment
):
    process = forked.Process(target=train_until, args=(moment, kind, documents, tmp_path))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert same_outputs(trained(KINDS[kind], documents, tmp_path), uninterrupted[kind])
    assert len(run_checkpoints(tmp_path)) <= 2
    assert not list((tmp_path / "checkpoint").glob("*.part")), "what the kill left half-written is gone"
