"""Insides of torch, Accelerate, TRL and torchrun that training depends on."""

import re
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

# Of what torchrun prints at the end: the signal that ended the first process to fail.
FIRST_SIGNAL = re.compile(r"Root Cause.*exitcode *: -\d+ \(pid: \d+\) +\((\w+)\)", re.DOTALL)


def forget_processes() -> None:
    """Accelerate keeps one state a Python process, of whoever used it last; the next begins with its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def scale_(tensors: list[Tensor], factor: float) -> None:
    """Multiply every tensor in place, in one launch for all of them."""
    torch._foreach_mul_(tensors, factor)


def lerp_(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Move every tensor in place that share of the way to its end."""
    torch._foreach_lerp_(tensors, ends, weight)


def lerp(tensors: list[Tensor], ends: list[Tensor], weight: float) -> list[Tensor]:
    """The tensors, each that share of the way to its end."""
    return list(torch._foreach_lerp(tensors, ends, weight))


class AlreadyTokenized:
    """Mixed into a trainer of TRL: its rows are tokens already, which TRL would tokenize in its own way."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset
