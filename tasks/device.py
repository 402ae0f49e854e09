"""Which device computes. Asked for a GPU, there is a GPU or an error, never a quiet CPU."""

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from tasks.errors import StageError

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def pick_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; `cuda` without one is a StageError."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise StageError("device cuda was asked for, but torch sees no CUDA device; use device auto or cpu")
    device = torch.device("cuda" if available and wanted != "cpu" else "cpu")
    if device.type == "cpu":
        _keep_freed_memory()
    return device


def _keep_freed_memory() -> None:
    """Let freed buffers be used again at once, instead of by way of the kernel.

    glibc maps every large tensor afresh and unmaps it when it is freed, so each step of a training pays for
    zeroing the same pages again: with GPT-2's vocabulary a third of the time (tests/benchmarks/README.md).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20)):
            libc.mallopt(option, value)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bfloat16: matrix products in bfloat16, weights and reductions in float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
