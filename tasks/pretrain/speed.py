"""How fast a training is, and what makes it faster on this machine."""

import shutil
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tasks.config import PretrainConfig
from tasks.errors import StageError
from tasks.machine.device import multiplies_in_bfloat16, warn_of_emulation
from tasks.models.causal import CausalModel
from tasks.models.kernels import PLAIN, Kernels

UNTIMED_STEPS = 5  # the first steps allocate and compile, and would make the speed look worse than it is
PLAIN_ATTENTION = 128  # the longest context whose attention on a CPU in bfloat16 is faster by plain products
VOCABULARY_MULTIPLE = 128  # the largest tile of a matrix product in half precision
READ_EVERY = {"cpu": 1, "cuda": 16}  # steps between two readings of their losses, which wait for the device
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass
class Clock:
    """Time spent in training steps, and all told since training began."""

    warm_at: int
    seconds: float = 0.0
    tokens: int = 0
    all_tokens: int = 0
    _began: float = field(default_factory=time.perf_counter)

    def count(self, step: int, seconds: float, tokens: int) -> None:
        """A step took so long: data, forward, backward, all micro-batches and the optimizer."""
        self.all_tokens += tokens
        if step > self.warm_at:
            self.seconds += seconds
            self.tokens += tokens

    def tokens_per_second(self) -> float | None:
        """Of the steps after the first few; None before there are any."""
        return self.tokens / self.seconds if self.seconds else None

    def tokens_per_second_all_told(self) -> float:
        """With compilation, evaluations, samples and checkpoints."""
        return self.all_tokens / (time.perf_counter() - self._began)


def pick_precision(config: PretrainConfig, device: torch.device, width: int) -> str:
    """`auto` is bfloat16 where the hardware multiplies in it and matrices are wide enough to gain.

    On a CPU they are from 256 on; from 128 where attention is by plain products (`attention_kernel`).
    """
    if config.precision != "auto":
        warn_of_emulation(config.precision, device)
        return config.precision
    wide = device.type == "cuda" or width >= (128 if config.context <= PLAIN_ATTENTION else 256)
    return "bfloat16" if wide and multiplies_in_bfloat16(device) else "float32"


def pick_compile(config: PretrainConfig, device: torch.device) -> bool:
    """`auto` compiles for a GPU, when the steps are enough to win back the minute that it takes.

    For a CPU it gains nothing over this loop (docs/benchmarks.md): there it is by choice. Raises
    StageError when it is asked for and there is no compiler.
    """
    compiler = "g++" if device.type == "cpu" else "cc"
    if config.compile == "always" and shutil.which(compiler) is None:
        raise StageError(
            f"pretrain.compile is always, but there is no {compiler}, which torch.compile needs for "
            f"{device.type}; install it (apt install g++), or set compile to auto or never"
        )
    if config.compile != "auto":
        return config.compile == "always"
    return device.type == "cuda" and config.steps >= 500 and shutil.which(compiler) is not None


def pick_kernels(config: PretrainConfig, device: torch.device, precision: str, model: CausalModel) -> Kernels:
    """What of a model from scratch is computed in another way than the plain one: on a CPU nothing.

    There memory is seldom short, and a training keeps the bits that the plain way gives it. The loss in
    chunks helps where a micro-batch has more tokens than the model is wide, and the vocabulary is larger too:
    then the logits are the largest of all that is kept. The kernel for documents takes half precision, heads
    of a multiple of 8, and has no dropout.
    """
    if config.kernels == "plain" or device.type != "cuda":
        return PLAIN
    vocabulary, width = model.head.shape
    fits = precision == "bfloat16" and not config.dropout and width // config.shape()[1] % 8 == 0
    return Kernels(
        chunked_loss=vocabulary > width and config.batch_size * config.context >= width,
        vocabulary_multiple=VOCABULARY_MULTIPLE,
        varlen=config.document_mask and fits,
    )


def attention_kernel(device: torch.device, precision: str, context: int) -> AbstractContextManager[None]:
    """Within it, attention is computed by the faster kernel.

    The flash kernel for CPUs takes over twice as long as plain matrix products for short sequences in
    bfloat16 (docs/benchmarks.md).
    """
    if device.type == "cpu" and precision == "bfloat16" and context <= PLAIN_ATTENTION:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


@torch.no_grad()
def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating point operations a second of a large square matrix product, measured here and now."""
    side = MATRIX_SIDE[device.type]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        (one @ other).flatten()[0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(seconds[1:])
