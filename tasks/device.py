"""Which device computes. Asked for a GPU, there is a GPU or an error, never a quiet CPU."""

from contextlib import AbstractContextManager, nullcontext

import torch

from tasks.errors import StageError


def pick_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; `cuda` without one is a StageError."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise StageError("device cuda was asked for, but torch sees no CUDA device; use device auto or cpu")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bfloat16: matrix products in bfloat16, weights and reductions in float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
