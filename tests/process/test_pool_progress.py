"""A stage on a work pool is followed: what it logs of its progress reaches the pipeline's log."""

import logging
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Pending, Running

from flows.dispatch import pipeline_run, stage_flows
from flows.dispatch.stage_flows import ProgressArtifact
from flows.server import pools
from flows.server.pools import Pools, RunLog


class Server:
    """A Prefect server with one flow run, which is in one state after another."""

    def __init__(self, *states):
        self.run = FlowRun(id=uuid4(), flow_id=uuid4(), name="finetune", work_pool_name="gpu-pool")
        self.states = list(states)
        self.lines = []

    def read_flow_run(self, _run):
        state, *logged = self.states.pop(0)
        self.run = self.run.model_copy(update={"state": state, "state_name": state.name})
        self.lines += [SimpleNamespace(name=name, message=message) for name, message in logged]
        return self.run

    def read_logs(self, _filter, limit, offset, sort):
        return self.lines[offset : offset + limit]


STEPS = "finetune: {}/80 steps, loss 2.310, 0:{} gone, 0:{} left"


@pytest.fixture
def now(monkeypatch):
    """A clock of which each sleep is ten seconds."""
    clock = [0.0]
    monkeypatch.setattr(
        pools,
        "time",
        SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: clock.__setitem__(0, clock[0] + 10.5)),
    )
    return clock


@pytest.mark.usefixtures("now")
def test_what_a_stage_on_a_pool_logs_is_told_as_it_comes():
    server = Server(
        (Running(), ("flows.dispatch.stage_flows", STEPS.format(20, 10, 30))),
        (
            Running(),
            ("tasks.finetune", "a library's word"),
            ("flows.dispatch.stage_flows", STEPS.format(40, 20, 20)),
        ),
        (Completed(), ("flows.dispatch.stage_flows", STEPS.format(80, 40, "00"))),
    )
    told = []
    assert pools._wait(server, server.run, Pools(), told.append).is_completed()
    assert told == [STEPS.format(20, 10, 30), STEPS.format(40, 20, 20), STEPS.format(80, 40, "00")]


@pytest.mark.usefixtures("now")
def test_a_stage_that_no_worker_has_begun_is_told_of_once():
    server = Server((Pending(),), (Pending(),), (Pending(),), (Completed(),))
    told = []
    pools._wait(server, server.run, Pools(), told.append)
    assert told == ["finetune: waiting for a worker of gpu-pool to begin it"]


def test_lines_beyond_one_answer_of_prefect_are_read_by_page(monkeypatch):
    monkeypatch.setattr(pools, "LOG_PAGE", 2)
    server = Server()
    server.lines = [
        SimpleNamespace(name="flows.dispatch.stage_flows", message=str(line)) for line in range(5)
    ]
    log_lines = RunLog(server, server.run.id)
    assert list(log_lines.new()) == ["0", "1", "2", "3", "4"]
    assert list(log_lines.new()) == []
    server.lines.append(SimpleNamespace(name="flows.dispatch.stage_flows", message="5"))
    assert list(log_lines.new()) == ["5"]


def test_the_pipeline_writes_it_into_its_own_log(caplog, capsys):
    with caplog.at_level(logging.INFO, "flows.dispatch.pipeline_run"):
        pipeline_run._tell(STEPS.format(20, 10, 30))
    assert caplog.record_tuples == [("flows.dispatch.pipeline_run", logging.INFO, STEPS.format(20, 10, 30))]
    assert STEPS.format(20, 10, 30) in capsys.readouterr().err


@pytest.fixture
def artifacts(monkeypatch):
    """What Prefect is sent as progress."""
    sent = []
    monkeypatch.setattr(
        stage_flows,
        "create_progress_artifact",
        lambda done, key, description: sent.append((done, description)),
    )
    monkeypatch.setattr(
        stage_flows, "update_progress_artifact", lambda _, done, description: sent.append((done, description))
    )
    return sent


def test_prefect_is_told_the_same_time_left_as_the_terminal(artifacts, caplog):
    clock = [0.0]
    progress = ProgressArtifact("finetune", lambda: clock[0])
    for step in range(11):
        clock[0] = float(step)
        progress(step, 80, "steps", "loss 2.310")
    assert artifacts == [
        (100 * step / 80, f"finetune: {step}/80 steps, loss 2.310, 0:0{step} gone, {left} left")
        for step, left in ((3, "1:17"), (6, "1:14"), (9, "1:11"))
    ]
    with caplog.at_level(logging.INFO, "flows.dispatch.stage_flows"):
        progress.tick()
        progress.tick()
    assert caplog.messages == ["finetune: 10/80 steps, loss 2.310, 0:10 gone, 1:10 left"]


@pytest.mark.usefixtures("artifacts")
def test_a_training_is_logged_at_each_evaluation_and_at_its_end(caplog):
    clock = [0.0]
    progress = ProgressArtifact("finetune", lambda: clock[0])
    with caplog.at_level(logging.INFO, "flows.dispatch.stage_flows"), progress:
        for step in (1, 2, 3):
            clock[0] = 2.0 * step
            progress(step, 3, "steps", f"loss {4 - step}.000")
            progress.phase("evaluating")
    assert caplog.messages == [
        "finetune: 2/3 steps, loss 2.000, 0:04 gone, 0:02 left",
        "finetune: 3/3 steps, loss 1.000, 0:06 gone",
    ]


def test_run_of_a_stage_is_named_after_pipeline_and_label():
    assert stage_flows.stage_run_name("quickstart", "generate base") == "quickstart: generate base"
    assert stage_flows.stage_run_name(None, "rows") == "rows"


@pytest.mark.usefixtures("artifacts")
def test_a_silent_stage_is_logged_from_a_thread_of_its_own(caplog, monkeypatch):
    monkeypatch.setattr(stage_flows, "TICK", 0.001)
    clock = [0.0]
    progress = ProgressArtifact("finetune", lambda: clock[0])
    with caplog.at_level(logging.INFO, "flows.dispatch.stage_flows"), progress:
        progress.phase("check 3 of 12: causality")
        clock[0] = 10.0
        for _ in range(1000):
            if caplog.messages:
                break
            progress._ticker._stopped.wait(0.005)
    assert caplog.messages == ["finetune: check 3 of 12: causality, 0:10 gone"]
