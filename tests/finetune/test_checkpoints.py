"""A checkpoint of a fine-tuning goes when it is found damaged, and only then (pitfalls 32 and 45)."""

import json
import shutil

import pytest
import torch

from tasks.errors import StageError
from tasks.finetune.resuming import mark_complete, newest, remove_damaged
from tests.reading_faults import READING_FAULTS, failing_with, files_of, flip_a_bit


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of three steps, the best of them the second."""
    for step in (2, 4, 10):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        torch.save({"weight": torch.arange(100)}, checkpoint / "model.safetensors")
        torch.save({"moment": torch.arange(50)}, checkpoint / "optimizer.pt")
        best = {"best_global_step": min(step, 4)}
        (checkpoint / "trainer_state.json").write_text(json.dumps(best))
        mark_complete(checkpoint)
    return tmp_path


def left_in(folder):
    remove_damaged(folder)
    return sorted(path.name for path in folder.iterdir())


ALL = ["checkpoint-10", "checkpoint-2", "checkpoint-4"]


def test_whole_ones_stay_and_the_last_is_gone_on_from(folder):
    assert left_in(folder) == ALL
    assert newest(folder) == folder / "checkpoint-10"


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
@pytest.mark.parametrize(
    "harm",
    [flip_a_bit, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink()],
    ids=["a bit", "a byte less", "gone"],
)
def test_one_that_is_checked_damaged_goes(folder, name, harm):
    harm(folder / "checkpoint-10" / name)
    assert left_in(folder) == ["checkpoint-2", "checkpoint-4"]


def test_one_that_was_never_complete_goes(folder):
    """A kill while it was written, or while it was removed."""
    (folder / "checkpoint-10" / "complete.json").unlink()
    assert left_in(folder) == ["checkpoint-2", "checkpoint-4"]


def test_one_whose_best_weights_are_lost_is_not_gone_on_from(folder):
    """Regression: Transformers warned that it could not find them, and the last weights were written."""
    shutil.rmtree(folder / "checkpoint-4")
    assert left_in(folder) == ["checkpoint-2"]


@pytest.mark.parametrize(
    "reader",
    [
        "tasks.record.seals.read_sha256",
        "tasks.finetune.resuming.json.loads",
        "pathlib.Path.read_bytes",
        "pathlib.Path.iterdir",
        "pathlib.Path.stat",
    ],
)
@pytest.mark.parametrize("error", READING_FAULTS, ids=repr)
def test_one_that_cannot_be_read_stays_and_stops_the_training(folder, reader, error):
    before = files_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, failing_with(error))
        with pytest.raises(StageError, match=r"could not be read .* It is kept as it is"):
            remove_damaged(folder)
    assert files_of(folder) == before
    assert left_in(folder) == ALL
