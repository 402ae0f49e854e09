"""How far a running stage is stands on its MLflow run, until it is done."""

import pytest

from flows.dispatch.progress_tag import PROGRESS, ProgressTag, told_progress
from flows.dispatch.stage_flows import ProgressArtifact
from flows.process.progress import StageProgress


@pytest.fixture
def run_id(tracking):
    return tracking.client.create_run(tracking.experiment_id).info.run_id


@pytest.fixture
def artifact(tracking, run_id, clock, monkeypatch):
    """A stage's progress that is told when the test says so, and not sent to Prefect."""
    monkeypatch.setattr(ProgressArtifact, "_send", lambda *_: None)
    made = ProgressArtifact("pretrain", clock)
    made.tag = ProgressTag(tracking, run_id)
    return made


def told(tracking, run_id):
    return told_progress(tracking.client.get_run(run_id))


def test_progress_is_told_every_three_seconds(artifact, tracking, run_id, clock):
    artifact(1, 10, "steps", "loss 3.1")
    artifact.tick()
    assert told(tracking, run_id) is None
    clock.now += 4
    artifact(5, 10, "steps", "loss 2.1")
    artifact.tick()
    found = told(tracking, run_id)
    assert (found.count, found.note, found.share, found.gone) == ("5/10 steps", "loss 2.1", 0.5, 4.0)
    assert found.left == pytest.approx(5.0)


def test_progress_is_gone_from_a_stage_that_is_done(artifact, tracking, run_id, clock):
    with artifact:
        artifact(5, 10, "steps", "")
        clock.now += 4
        artifact.tick()
    assert PROGRESS not in tracking.client.get_run(run_id).data.tags


def test_progress_stays_on_a_stage_that_was_interrupted(artifact, tracking, run_id, clock):
    def interrupted():
        with artifact:
            artifact(5, 10, "steps", "")
            clock.now += 4
            artifact.tick()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert told(tracking, run_id).done == 5


def test_progress_that_a_store_refuses_is_logged_once(tracking, caplog):
    tag = ProgressTag(tracking, "0" * 32)
    tag.tell(StageProgress("pretrain"))
    tag.tell(StageProgress("pretrain"))
    tag.remove()
    assert len([record for record in caplog.records if "is told there no more" in record.message]) == 1
