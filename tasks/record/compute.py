"""What computes a stage's numbers: the device and the precision that are in its key, and its environment.

A look-up must not import torch, which takes seconds, so what torch would say is read from where torch reads
it: the CUDA driver, the kernel's list of the CPU's units, the version file of torch. `verify` compares the
two before any work is done.
"""

import ctypes
import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.config import (
    AskConfig,
    BenchmarkConfig,
    ExportConfig,
    GenerateConfig,
    LossesConfig,
    PredictConfig,
    PreflightConfig,
    PretrainConfig,
    Reuse,
    StageConfig,
    TuningConfig,
)
from tasks.errors import StageError
from tasks.record.manifest import canonical_json

BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # as the kernel names them for x86 and ARM
MAJOR_CAPABILITY = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR of the CUDA driver's API
BFLOAT16_SINCE = 8  # the compute capability that multiplies in it
LIBRARIES = ("torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "numpy")
HOW = ("compile", "processes", "sharding")  # settings outside the key that may change the last bits
HOW_ON_GPU = ("kernels",)
DEVICE, PRODUCTS = "device", "products"


def computing(config: StageConfig) -> Any:
    """The settings of what is computed on a device of this machine; None where nothing is."""
    if isinstance(config, PreflightConfig):
        return None if config.rows_only else config.pretrain
    if isinstance(config, AskConfig | GenerateConfig):  # else a server of its own answers
        return config if config.in_process else None
    computed = PretrainConfig | TuningConfig | PredictConfig | ExportConfig | LossesConfig | BenchmarkConfig
    return config if isinstance(config, computed) else None


def resolved(config: StageConfig) -> dict[str, str]:
    """What of the machine enters the key of a stage that computes.

    `products` says in which precision the machine multiplies; it is there where a setting leaves that to it.
    """
    own = computing(config)
    if own is None:
        return {}
    kind = device_kind(own.device)
    left_to_it = isinstance(own, PretrainConfig) and own.precision == "auto"
    if left_to_it or getattr(own, "optimizer", None) == "muon":
        return {DEVICE: kind, PRODUCTS: products(kind)}
    return {DEVICE: kind}


def device_kind(wanted: str) -> str:
    """`cuda` or `cpu`, as `pick_device` decides, which refuses a `cuda` that is not there."""
    return "cuda" if wanted == "cuda" or (wanted == "auto" and _cuda_capability() is not None) else "cpu"


def products(kind: str) -> str:
    """`bfloat16` where the hardware multiplies in it, else `float32`."""
    if kind == "cuda":
        return "bfloat16" if (_cuda_capability() or 0) >= BFLOAT16_SINCE else "float32"
    return "bfloat16" if _units() & BFLOAT16_UNITS else "float32"


def verify(fingerprints: Mapping[str, str], config: Any) -> None:
    """Raises StageError where torch sees another device, or other units, than stand in the key."""
    own = computing(config)
    if own is None or DEVICE not in fingerprints:
        return
    from tasks.machine.device import multiplies_in_bfloat16, pick_device

    wanted = own.device
    device = pick_device(wanted)
    if device.type != fingerprints[DEVICE]:
        raise StageError(
            f"device {wanted} is {fingerprints[DEVICE]} by this machine's driver, and torch computes on "
            f"{device.type}. Set device to cpu or cuda, or fix the driver or torch"
        )
    there = "bfloat16" if multiplies_in_bfloat16(device) else "float32"
    if fingerprints.get(PRODUCTS, there) != there:
        raise StageError(
            f"by its system this machine multiplies in {fingerprints[PRODUCTS]}, by torch in {there}. Set "
            "precision to float32, or to bfloat16"
        )


def required(config: StageConfig, fingerprints: Mapping[str, str], reuse: Reuse) -> str | None:
    """The environment that an earlier result must have been made in; None where any will do.

    With `auto` that is this one for what was computed on a device: another number of threads or version of
    torch gives other bits. What is read, counted or asked elsewhere is the same everywhere.
    """
    if reuse == "any" or (reuse == "auto" and DEVICE not in fingerprints):
        return None
    return environment(config, fingerprints)


def environment(config: StageConfig, fingerprints: Mapping[str, str]) -> str:
    """What else may change the last bits of a result, as JSON: libraries, threads, the units that compute.

    And what a training is told of them: to compile, and to how many processes its steps are shared out.
    """
    own = computing(config)
    kind = fingerprints.get(DEVICE, "cpu")
    names = (*HOW, *HOW_ON_GPU) if kind == "cuda" else HOW
    told = {name: str(getattr(own, name)) for name in names if hasattr(own, name)}
    return canonical_json(_environment(kind) | told).decode()


def _environment(kind: str) -> dict[str, str]:
    found = {name: _version(name) for name in LIBRARIES}
    if kind == "cuda":
        return found | {"cuda": _cuda_name()}
    vectors = next((unit for unit in ("avx512f", "avx2", "asimd") if unit in _units()), platform.machine())
    return found | {"cpu": vectors, "threads": str(_threads())}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _threads() -> int:
    """As many as torch takes: what OpenMP is told, else the cores that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count() or 1


@cache
def _units() -> frozenset[str]:
    """The CPU's units by the names of the Linux kernel; torch is asked on other systems."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        line = re.search(r"^(?:flags|Features)\s*:(.*)$", listed.read_text(), re.MULTILINE)
        return frozenset(line[1].split()) if line else frozenset()
    import torch

    return frozenset(name for name, there in torch.cpu.get_capabilities().items() if there is True)


@cache
def _cuda_capability() -> int | None:
    """The major compute capability of the first GPU that this process may use; None where torch sees none."""
    driver = _driver()
    if driver is None:
        return None
    device, major = ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR_CAPABILITY, device):
        return None
    return major.value


@cache
def _cuda_name() -> str:
    driver, name, device = _driver(), ctypes.create_string_buffer(256), ctypes.c_int()
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), 0):
        return "none"
    return "unknown" if driver.cuDeviceGetName(name, len(name), device) else name.value.decode()


@cache
def _driver() -> ctypes.CDLL | None:
    """The CUDA driver, ready to be asked; None where torch was built without CUDA, or there is no driver."""
    if not _torch_has_cuda():
        return None
    try:
        driver = ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def _torch_has_cuda() -> bool:
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    told = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b[^=]*= *'", told, re.MULTILINE) is not None
