"""One process or more: what Accelerate and torch.distributed do for the loop.

Several are started by torchrun (tasks/distributed/launch.py). With one, everything here is what a plain loop
would do.
"""

import math
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from tasks.batches.blocks import Batch
from tasks.compat.training import forget_processes
from tasks.config import PretrainConfig
from tasks.distributed.collectives import any_of, sum_over
from tasks.distributed.part import PATIENCE
from tasks.machine.device import pick_device
from tasks.models.optimizers import decoder_blocks

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Processes:
    """The processes that train together, and this one among them."""

    def __init__(self, config: PretrainConfig) -> None:
        forget_processes()
        on_cpu = pick_device(config.device).type == "cpu"
        # Autocast is the loop's own: Accelerate's would also copy all logits to float32.
        group = InitProcessGroupKwargs(timeout=PATIENCE)
        self._accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[group])
        self._sharded = config.sharding == "fsdp"
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes
        self.is_first: bool = self._accelerator.is_main_process
        self.wait = self._accelerator.wait_for_everyone
        self.end = self._accelerator.end_training

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"cpu ({platform.machine()})"

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as it is stepped: itself, wrapped by DDP, or with its parameters sharded (FSDP)."""
        if self.count == 1:
            return model
        if not self._sharded:
            return self._accelerator.prepare_model(model)
        mesh = init_device_mesh(self.device.type, (self.count,))
        for block in decoder_blocks(model)[1]:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def share(self, rows: int) -> slice:
        """The rows of a batch that this process reads: as many as the others do, or one less."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def largest_share(self, rows: int) -> int:
        return math.ceil(rows / self.count)

    def shared_out(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
        """Every batch for one of the processes, as many for each; False marks one that does not count.

        Sharded models need every process in every forward.
        """
        waiting: list[Batch] = []
        for batch in batches:
            waiting.append(batch)
            if len(waiting) == self.count:
                yield waiting[self.rank], True
                waiting = []
        if waiting:
            counts = self.rank < len(waiting)
            yield waiting[self.rank if counts else 0], counts

    @contextmanager
    def without_sync(self, model: nn.Module) -> Iterator[None]:
        """Gradients inside stay on their process until a backward outside."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(False)
            yield
            model.set_requires_gradient_sync(True)
        else:
            with self._accelerator.no_sync(model):
                yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's share of a loss; between processes torch averages them."""
        self._accelerator.backward(loss * self.count)

    def sum(self, number: float) -> float:
        """Over all processes, in float64."""
        return sum_over(number, self.device)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether one of the processes has set it."""
        return any_of(flags, self.device)

    # What a checkpoint holds: whole tensors, whatever they are sharded over

    def weights(self, model: nn.Module) -> dict[str, Any]:
        return get_model_state_dict(model, options=WHOLE)

    def state(self, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
        """Weights, optimizers, and the random states of every process."""
        weights, moments = get_state_dict(model, optimizers, options=WHOLE)
        return {"model": weights, "optimizer": moments, "random": gather_object([self.random_state()])}

    def random_state(self) -> dict[str, Tensor | None]:
        """Of this process."""
        return {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def set_random_state(self, random: dict[str, Tensor | None]) -> None:
        """Undo `random_state`."""
        torch.set_rng_state(random["cpu"])
        if random["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.device)

    def restore(
        self, model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict[str, Any]
    ) -> None:
        """Undo `state`. With another number of processes than then, random states are drawn anew."""
        set_state_dict(
            model,
            optimizers,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=WHOLE,
        )
        if len(state["random"]) != self.count:
            step = state["progress"][
                "step"
            ]  # not as the first steps were seeded, whose masks would come again
            torch.manual_seed(torch.initial_seed() + step * self.count)
            return
        self.set_random_state(state["random"][self.rank])
