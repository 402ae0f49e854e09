"""What the processes of a training agree on; one process agrees with itself."""

import torch
from torch import distributed


def sum_over(number: float, device: torch.device) -> float:
    """The sum of what each process has, in float64."""
    if not distributed.is_initialized():
        return number
    total = torch.tensor(number, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.item()


def any_of(flags: tuple[bool, ...], device: torch.device) -> list[bool]:
    """For each flag whether one of the processes has set it."""
    if not distributed.is_initialized():
        return list(flags)
    together = torch.tensor(flags, dtype=torch.int32, device=device)
    distributed.all_reduce(together, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in together.tolist()]
