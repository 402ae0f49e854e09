"""Insides of libraries that this project depends on: when one of these fails, the library has changed."""

import inspect
from pathlib import Path

import lm_eval.api.task
import mlflow
import prefect.settings
import prefect.workers.process
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from prefect.server.api import server
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from trl import DPOTrainer

from flows.compat import BRIEF_SERVER, EPHEMERAL, load_flows_by
from tasks.compat.lm_eval_tasks import described, quietly
from tasks.compat.mlflow_runs import active
from tasks.compat.training import FIRST_SIGNAL, AlreadyTokenized, forget_processes, lerp, lerp_, scale_


def test_prefect_reads_what_makes_a_server_brief():
    insides = inspect.getsource(server)
    for name in BRIEF_SERVER:
        assert hasattr(prefect.settings, name) or f'"{name}"' in insides, name
    assert not hasattr(prefect.settings, "PREFECT_NO_SUCH_SETTING")
    assert EPHEMERAL in BRIEF_SERVER


def test_prefects_worker_loads_flows_by_a_function_of_its_module(monkeypatch):
    own = prefect.workers.process.load_flow_from_flow_run
    monkeypatch.setattr(prefect.workers.process, "load_flow_from_flow_run", own)  # to be put back
    assert "=load_flow_from_flow_run," in inspect.getsource(prefect.workers.process.ProcessWorker)

    async def load(flow_run):
        return flow_run

    load_flows_by(load)
    assert prefect.workers.process.load_flow_from_flow_run is load


def test_lm_eval_reads_and_draws_by_these_names():
    folder = Path(lm_eval.__file__).parent / "tasks"
    found = described(folder / "hellaswag" / "hellaswag.yaml")
    assert (found["task"], callable(found["process_docs"]), "tag" in found) == ("hellaswag", True, False)
    bar = lm_eval.api.task.tqdm
    assert "tqdm(" in inspect.getsource(lm_eval.api.task.Task.build_all_requests)
    with quietly():
        assert list(lm_eval.api.task.tqdm([1, 2], total=2)) == [1, 2]
        assert lm_eval.api.task.tqdm is not bar
    assert lm_eval.api.task.tqdm is bar


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_torch_works_on_several_tensors_at_once(shape):
    ours, ends = ([torch.rand(shape) for _ in range(3)] for _ in range(2))
    before = [tensor.clone() for tensor in ours]
    between = [torch.lerp(a, b, 0.3) for a, b in zip(before, ends, strict=True)]
    torch.testing.assert_close(lerp(ours, ends, 0.3), between)
    torch.testing.assert_close(ours, before)
    lerp_(ours, ends, 0.3)
    torch.testing.assert_close(ours, between)
    scale_(ours, 2.0)
    torch.testing.assert_close(ours, [2 * tensor for tensor in between])


def test_accelerate_forgets_the_processes_of_the_training_before():
    Accelerator(cpu=True)
    assert AcceleratorState._shared_state
    forget_processes()
    assert not AcceleratorState._shared_state


def test_trl_prepares_its_data_in_a_method_that_can_be_replaced():
    assert "_prepare_dataset" in vars(DPOTrainer)
    assert "self._prepare_dataset(" in inspect.getsource(DPOTrainer.__init__)
    assert AlreadyTokenized()._prepare_dataset("rows", "anything", "else") == "rows"


def test_torchrun_tells_the_signal_that_ended_the_first_process(tmp_path):
    failure = ProcessFailure(local_rank=1, pid=7, exitcode=-9, error_file=str(tmp_path / "none"))
    told = str(ChildFailedError("worker", {1: failure}))
    assert FIRST_SIGNAL.search(told)[1] == "SIGKILL"


def test_a_run_of_mlflow_goes_on_after_it_was_the_active_one(tracking):
    run = tracking.client.create_run(tracking.experiment_id)
    with active(tracking.client, run.info.run_id):
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert mlflow.active_run() is None
    assert tracking.client.get_run(run.info.run_id).info.status == "RUNNING"
