"""A training step on one GPU: what each way to make it faster gains, and what share of the card is used.

    python -m tests.benchmarks.gpu [--architecture gpt2] [--batch 32] [--steps 12] [--seconds 200]

Without a CUDA device it says so and ends with status 2: then nothing was measured. `--device cpu --smallest`
runs the same code on a CPU, as a test of it; its numbers mean nothing.

All ways train the same model on the same made tokens, in the precision that the card multiplies in: the plain
way first, then one switch at a time, then all. A time is the mean of the steps after the first, with the
device waited for at both ends; no way begins after `--seconds`. The goal is half of the card's matrix rate.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tasks.config import PretrainConfig
from tasks.models.kernels import PLAIN, Kernels
from tasks.pretrain.loop import Trainer
from tasks.pretrain.speed import READ_EVERY, VOCABULARY_MULTIPLE, matrix_rate
from tasks.record.stage import StageRun
from tests.benchmarks.corpora import random_tokens
from tests.benchmarks.precision import fastest

GOAL, WARM_UP, NO_CARD = 0.5, 3, 2


@dataclass(frozen=True)
class Way:
    name: str
    kernels: Kernels = PLAIN
    read_every: int = 1
    compiled: bool = False
    document_mask: bool = False


def ways(read_every: int) -> Iterator[Way]:
    """The plain way, one with each switch, and all; then the same of documents that are told apart."""
    chunked, padded = Kernels(chunked_loss=True), Kernels(vocabulary_multiple=VOCABULARY_MULTIPLE)
    every = replace(chunked, vocabulary_multiple=VOCABULARY_MULTIPLE)
    yield Way("plain")
    yield Way(f"losses read every {read_every} steps", read_every=read_every)
    yield Way("loss in chunks", chunked)
    yield Way("vocabulary padded", padded)
    yield Way("all of these", every, read_every)
    yield Way("documents by a dense mask, all of these", every, read_every, document_mask=True)
    by_offsets = replace(every, varlen=True)
    yield Way("documents by their offsets, all of these", by_offsets, read_every, document_mask=True)
    yield Way("all, compiled", every, read_every, compiled=True)


@dataclass(frozen=True)
class Measured:
    seconds: float
    """Of a step."""
    loss: float
    """Of the last step, by which the ways are seen to train alike."""
    memory: float
    """GiB at the peak."""
    flops: float
    """Of a step."""


def measure(way: Way, config: PretrainConfig, tokens: Path, folder: Path) -> Measured:
    """Some steps to warm up, then `config.steps` together."""
    config = config.model_copy(update={"document_mask": way.document_mask})
    trainer = Trainer(config, StageRun(folder / "o", folder / "a", folder / "c"), tokens)
    trainer.compiled = way.compiled
    trainer.plain.kernels, trainer.read_every = way.kernels, way.read_every
    trainer.prepare()
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP):
        trainer._step()
    _wait(trainer)
    started = time.perf_counter()
    for _ in range(config.steps):
        trainer._step()
    _wait(trainer)
    seconds = (time.perf_counter() - started) / config.steps
    on_gpu = trainer.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    flops = trainer.plain.flops_per_token(config.context) * trainer.tokens_per_step
    return Measured(seconds, trainer.progress.history[-1]["train_loss"], memory, flops)


def _wait(trainer: Trainer) -> None:
    """Until the device has done all steps."""
    trainer._read_steps()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", choices=("gpt2", "llama"), default="gpt2")
    parser.add_argument("--batch", type=int, default=32, help="sequences of 1,024 tokens a micro-batch")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=200.0, help="no way begins after so many")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smallest", action="store_true", help="a model of two layers, for a test")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("this needs a CUDA device, and torch sees none: nothing was measured", file=sys.stderr)
        return NO_CARD
    small = {"size": "2x2x32", "context": 16, "batch_size": 4, "steps": 2}
    large = {"size": "124M", "context": 1024, "batch_size": asked.batch, "steps": asked.steps}
    precision = fastest(asked.device)
    config = PretrainConfig(
        architecture=asked.architecture,
        precision=precision,
        device=asked.device,
        **(small if asked.smallest else large),
    )
    vocabulary = 300 if asked.smallest else 50257
    with tempfile.TemporaryDirectory() as name:
        return _print_all(config, Path(name), vocabulary, asked.seconds)


def _print_all(config: PretrainConfig, folder: Path, vocabulary: int, limit: float) -> int:
    began = time.perf_counter()
    count = 64 * config.context * config.batch_size
    random_tokens(folder, vocabulary, count, documents=3 * count // config.context)
    device = torch.device(config.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    peak = matrix_rate(device, config.precision)
    print(f"{name}, {config.precision}, torch {torch.__version__}; matrix products {peak:.3g} FLOP/s\n")
    print("| way | a step | times plain | tokens/s | of the matrix rate | peak memory | loss |")
    print("|---|---|---|---|---|---|---|", flush=True)
    plain, best = None, 0.0
    for number, way in enumerate(ways(READ_EVERY["cuda"])):
        if device.type != "cuda" and (way.kernels.varlen or way.compiled):
            print(f"| {way.name} | not run: for CUDA alone |  |  |  |  |  |")
            continue
        if time.perf_counter() - began > limit:
            print(f"| {way.name} | not run: {limit:.0f} s were over |  |  |  |  |  |", flush=True)
            continue
        found = measure(way, config, folder, folder / str(number))
        plain = plain or found
        share = found.flops / found.seconds / peak
        best = max(best, share)
        tokens = config.batch_size * config.context / found.seconds
        print(
            f"| {way.name} | {1000 * found.seconds:,.1f} ms | {plain.seconds / found.seconds:.2f} "
            f"| {tokens:,.0f} | {share:.2f} | {found.memory:.1f} GiB | {found.loss:.3f} |",
            flush=True,
        )
    print(f"\nthe goal of {GOAL} is {'reached' if best >= GOAL else 'missed'}: {best:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
