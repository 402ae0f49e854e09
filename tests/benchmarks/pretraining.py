"""Training steps of GPT-2 124M, ours and as one finds them in the field, in turn, as ratios.

    python -m tests.benchmarks.pretraining [--size 124M] [--rounds 3] [--steps 8]

It asserts nothing; the last table is in docs/benchmarks.md. Each way runs in a process of its own, several
rounds in turn, and is printed as it is done; the medians of all rounds are last. A step is everything from
the batch to the updated weights, 2 sequences of 256 tokens. The textbook loop is in float32, all others are
in the precision that this machine multiplies in.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tasks.config import SIZES, PretrainConfig
from tasks.pretrain.loop import Trainer
from tasks.record.stage import StageRun
from tests.benchmarks import baselines
from tests.benchmarks.corpora import random_tokens
from tests.benchmarks.precision import fastest

BATCH, CONTEXT, VOCAB, WARM_UP = 2, 256, 50257, 3
Made = tuple[str, baselines.Step]
"""A precision, and a step in it."""


def ours(size: str, folder: Path, compile_: str) -> Made:
    """A step of the Trainer itself, in the precision that it picks."""
    random_tokens(folder, VOCAB, 200_000)
    config = PretrainConfig(
        size=size,
        context=CONTEXT,
        batch_size=BATCH,
        accumulation=1,
        steps=1000,
        compile=compile_,
        device="cpu",
    )
    trainer = Trainer(config, StageRun(folder / "o", folder / "a", folder / "c"), folder)
    trainer.prepare()
    return trainer.precision, lambda *_: trainer._step()


def shape(size: str) -> baselines.Shape:
    layers, heads, width = PretrainConfig(size=size).shape()
    return baselines.Shape(VOCAB, CONTEXT, layers, heads, width)


FASTEST = fastest()
BF16 = FASTEST == "bfloat16"
WAYS: dict[str, Callable[[str, Path], Made]] = {
    "textbook loop": lambda size, _: ("float32", baselines.textbook(shape(size))),
    "Hugging Face GPT-2": lambda size, _: (FASTEST, baselines.hugging_face(shape(size), bf16=BF16)),
    "lean GPT, fused AdamW": lambda size, _: (FASTEST, baselines.lean(shape(size), bf16=BF16, fused=True)),
    "lean GPT, the same compiled": lambda size, _: (
        FASTEST,
        baselines.lean(shape(size), bf16=BF16, fused=True, compiled=True),
    ),
    "Touchstone": lambda size, folder: ours(size, folder, "never"),
    "Touchstone, compiled": lambda size, folder: ours(size, folder, "always"),
}


def measure(way: str, size: str, steps: int) -> None:
    """Print seconds of each step, of the first one (with compilation), and peak memory, as JSON."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        precision, step = WAYS[way](size, Path(folder))
        tokens = torch.randint(VOCAB, (BATCH, CONTEXT + 1))
        seconds = []
        for _ in range(WARM_UP + steps):
            started = time.perf_counter()
            step(tokens[:, :-1], tokens[:, 1:])
            seconds.append(time.perf_counter() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"precision": precision, "first": seconds[0], "seconds": seconds[WARM_UP:], "memory": memory}
    print(json.dumps(found))


def row(way: str, runs: list[dict], slowest: float) -> str:
    """A line of the table, of one run or of several."""
    median = statistics.median(second for run in runs for second in run["seconds"])
    first = statistics.median(run["first"] for run in runs)
    memory = max(run["memory"] for run in runs)
    return (
        f"| {way} | {runs[0]['precision']} | {median * 1000:,.0f} ms | {BATCH * CONTEXT / median:,.0f} "
        f"| {slowest / median:.2f} | {first:.1f} s | {memory:,.0f} MB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=SIZES, default="124M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.size, arguments.steps)
        return
    head = "| way | precision | a step | tokens/s | times the textbook loop | first step | peak memory |"
    results: dict[str, list[dict]] = {way: [] for way in WAYS}
    textbooks = results[next(iter(WAYS))]
    print(f"{head}\n|---|---|---|---|---|---|---|", flush=True)
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "tests.benchmarks.pretraining", "--way", way]
            command += ["--size", arguments.size, "--steps", str(arguments.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            results[way].append(json.loads(done.stdout.splitlines()[-1]))
            slowest = statistics.median(textbooks[-1]["seconds"])
            print(row(way, results[way][-1:], slowest), flush=True)
    print(f"\nMedians of {arguments.rounds} rounds\n\n{head}\n|---|---|---|---|---|---|---|")
    slowest = statistics.median(second for run in textbooks for second in run["seconds"])
    for way, runs in results.items():
        print(row(way, runs, slowest))


if __name__ == "__main__":
    main()
