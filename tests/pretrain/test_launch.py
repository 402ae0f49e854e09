"""torchrun: what workers tell arrives, what they raise is raised, and none outlives who started it."""

import io
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.distributed.launch import LAST_LINES, MARK, Told, WorkerTraceback, _listen
from tasks.errors import RefusedError, StageError, StoppedError
from tasks.pretrain.stage import pretrain
from tests.pretrain.training import Stopped, changed, curve, run_checkpoints, stopped_after, trained
from tests.runs import stage_run_in, summary_of, weights_in


def listened(run, *lines):
    """What workers told that printed these lines."""
    told = Told()
    _listen(SimpleNamespace(stdout=io.StringIO("".join(f"{line}\n" for line in lines))), run, told)
    return told


def event(kind, **fields):
    return MARK + json.dumps({"kind": kind, **fields})


def workers_of(folder):
    """Processes whose command names a file in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # gone in between
            continue
    return found


# What is told


def test_numbers_and_progress_are_passed_on_amid_library_output(tmp_path):
    done, logged, doing = [], [], []
    run = stage_run_in(tmp_path, progress=lambda *args: done.append(args), phase=doing.append)
    run.log_metrics = lambda values, step=0: logged.append((values, step))
    told = listened(
        run,
        *(
            "a warning of some library",
            event("phase", what="evaluating"),
            event("progress", done=3, total=9, unit="steps", note="loss 1.2"),
            "",
            event("metrics", values={"train_loss": 1.25}, step=3),
            *(f"line {number}" for number in range(LAST_LINES)),
        ),
    )
    assert told.failure is None
    assert done == [(3, 9, "steps", "loss 1.2")]
    assert doing == ["evaluating"]
    assert logged == [({"train_loss": 1.25}, 3)]
    assert list(told.printed) == [f"line {number}" for number in range(LAST_LINES)]


def test_an_event_after_an_unfinished_line_is_heard(tmp_path):
    """A progress bar of some library ends without a new line."""
    done = []
    run = stage_run_in(tmp_path, progress=lambda *args: done.append(args))
    bar = "\rloading 50%" + event("progress", done=3, total=9, unit="steps", note="")
    told = listened(run, bar)
    assert done == [(3, 9, "steps", "")]
    assert list(told.printed) == ["loading 50%"]


def test_mixed_lines_of_two_processes_are_printed_and_no_defect(tmp_path):
    torn = event("defect", message="x", traceback="y")[:20] + "and something else"
    told = listened(stage_run_in(tmp_path), torn)
    assert told.failure is None
    assert len(told.printed) == 1


def test_the_first_error_is_raised_and_not_what_it_caused(tmp_path):
    told = listened(
        stage_run_in(tmp_path),
        event("error", type="RefusedError", message="a label leaks"),
        event("defect", message="connection closed by peer", traceback="..."),
        event("error", type="StageError", message="second"),
    )
    assert type(told.failure) is RefusedError
    assert str(told.failure) == "a label leaks"


# torchrun itself, which takes its time to start


@pytest.mark.slow
def test_two_processes_started_by_torchrun_make_the_steps_of_one(documents, tmp_path, capfd):
    fields = {"dropout": 0, "learning_rate": 1e-3, "document_mask": True, "batch_size": 3, "accumulation": 1}
    done = []
    several = trained(
        changed(**fields, processes=2), documents, tmp_path / "2", progress=lambda *args: done.append(args)
    )
    one = trained(changed(**fields), documents, tmp_path / "1")
    assert capfd.readouterr().out == ""
    assert curve(several) == pytest.approx(curve(one), rel=1e-5)
    for name, value in summary_of(one).items():
        assert summary_of(several)[name] == (
            pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        )
    assert weights_in(several).keys() == weights_in(one).keys()
    assert [args[:3] for args in done if args[3].startswith("loss")] == [
        (step, 9, "steps") for step in range(1, 10)
    ]
    assert several.metrics["train_loss"] == curve(several)[-1]
    assert json.loads((several.auxiliary / "speed.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_an_error_of_a_worker_is_raised_as_it_was(documents, tmp_path):
    with pytest.raises(StageError, match=r"a context of 100000 needs 100001.*lower pretrain\.context"):
        trained(changed(context=100_000, processes=2), documents, tmp_path)


@pytest.mark.slow
def test_a_defect_of_a_worker_is_raised_with_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="FileNotFoundError in a training process") as caught:
        trained(changed(processes=2), tmp_path / "nowhere", tmp_path)
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "in load_tokens" in str(caught.value.__cause__)


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_and_none_is_left(documents, tmp_path):
    """Killed by the kernel for its memory, it tells of nothing."""

    def kill_a_worker(done, *_):
        if done == 2:
            os.kill(max(workers_of(tmp_path)), signal.SIGKILL)

    config = changed(processes=2, steps=100_000, eval_every=100_000)
    with pytest.raises(StageError, match=r"a training process was ended by SIGKILL.*memory"):
        trained(config, documents, tmp_path, progress=kill_a_worker)
    assert workers_of(tmp_path) == []


@pytest.mark.slow
def test_a_launch_that_is_interrupted_leaves_no_worker(documents, tmp_path):
    def interrupt(done, *_):
        raise Stopped

    config = changed(processes=2, steps=100_000, eval_every=100_000)
    with pytest.raises(Stopped):
        trained(config, documents, tmp_path, progress=interrupt)
    assert workers_of(tmp_path) == []


@pytest.mark.slow
def test_launch_asked_to_stop_has_its_workers_write_a_checkpoint(documents, tmp_path):
    config = changed(processes=2, steps=100_000, eval_every=100_000)
    said = stopped_after(20, config, documents, tmp_path, at_least=True)
    assert said == []
    (checkpoint,) = run_checkpoints(tmp_path)
    step = int(checkpoint.removeprefix("step-").removesuffix(".pt"))
    assert step >= 20
    assert workers_of(tmp_path) == []
    said = stopped_after(step + 1, config, documents, tmp_path, at_least=True)
    assert said == [f"resumes at step {step} of 100000"]


@pytest.mark.slow
def test_launch_asked_to_stop_before_it_trains_ends_its_workers(documents, tmp_path):
    run = stage_run_in(tmp_path)
    run.stop.set()
    with pytest.raises(StoppedError, match="before its first step"):
        pretrain(changed(processes=2, steps=100_000, eval_every=100_000), run, tokens=documents)
    assert run_checkpoints(tmp_path) == []
    assert workers_of(tmp_path) == []


def launch_and_touch(config, tokens, folder, begun):
    trained(config, tokens, folder, progress=lambda *_: begun.touch())


@pytest.mark.slow
def test_no_worker_outlives_a_launcher_that_was_killed(documents, tmp_path, forked):
    """They would go on beside the next attempt, and write over its checkpoints."""
    config = changed(processes=2, steps=100_000, eval_every=100_000)
    begun = tmp_path / "begun"
    launcher = forked.Process(target=launch_and_touch, args=(config, documents, tmp_path / "run", begun))
    launcher.start()
    try:
        wait_until(begun.exists, 120)
        assert len(workers_of(tmp_path / "run")) == 3, "torchrun and its two"
    finally:
        launcher.kill()
        launcher.join()
    wait_until(lambda: not workers_of(tmp_path / "run"), 10)


def wait_until(holds, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)  # another process gives no event
