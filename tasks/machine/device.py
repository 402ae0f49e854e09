"""Which device computes. Asked for a GPU, there is a GPU or an error, never a quiet CPU."""

import ctypes
import logging
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from tasks.errors import StageError

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

log = logging.getLogger(__name__)


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
    zeroing the same pages again: with GPT-2's vocabulary a third of the time (docs/benchmarks.md).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20)):
            libc.mallopt(option, value)


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether the hardware does; what does not emulates it, on a CPU at ten to fifty times float32's time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return any(has.get(unit) for unit in ("avx512_bf16", "amx_bf16", "bf16"))


def warn_of_emulation(precision: str, device: torch.device) -> None:
    """Say that a precision which was asked for is slower here than float32."""
    if precision == "bfloat16" and not multiplies_in_bfloat16(device):
        log.warning(
            "precision bfloat16: this machine's %s does not multiply in it and emulates it, far slower than "
            "float32; set precision to float32 unless the numbers must be those of bfloat16",
            "GPU" if device.type == "cuda" else "CPU",
        )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bfloat16: matrix products in bfloat16, weights and reductions in float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
