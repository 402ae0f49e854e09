"""Training steps of GPT-2 124M, ours and as one finds them in the field, in turn, as ratios.

    python -m tests.benchmarks.pretraining

It asserts nothing; the last table is in README.md beside it. Each way runs in a process of its own, several
rounds in turn; a step is everything from the batch to the updated weights, 2 sequences of 256 tokens.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tasks.config import PretrainConfig
from tasks.pretrain.loop import Trainer
from tasks.record import StageRun
from tests.benchmarks import baselines
from tests.benchmarks.corpora import random_tokens

BATCH, CONTEXT, VOCAB, WARM_UP, STEPS = 2, 256, 50257, 3, 8
SIZE = "124M"


def ours(folder: Path, compile_: str) -> baselines.Step:
    """A step of the Trainer itself."""
    random_tokens(folder, VOCAB, 200_000)
    config = PretrainConfig(
        size=SIZE,
        context=CONTEXT,
        batch_size=BATCH,
        accumulation=1,
        steps=1000,
        compile=compile_,
        device="cpu",
    )
    trainer = Trainer(config, StageRun(folder / "o", folder / "a", folder / "c"), folder)
    trainer.prepare()
    return lambda *_: trainer._step()


def shape() -> baselines.Shape:
    layers, heads, width = PretrainConfig(size=SIZE).shape()
    return baselines.Shape(VOCAB, CONTEXT, layers, heads, width)


WAYS = {
    "textbook loop, float32": lambda _: baselines.textbook(shape()),
    "Hugging Face GPT-2, bfloat16": lambda _: baselines.hugging_face(shape()),
    "lean GPT, bfloat16, fused AdamW": lambda _: baselines.lean(shape(), bf16=True, fused=True),
    "lean GPT, the same compiled": lambda _: baselines.lean(shape(), bf16=True, fused=True, compiled=True),
    "Touchstone": lambda folder: ours(folder, "never"),
    "Touchstone, compiled": lambda folder: ours(folder, "always"),
}


def measure(way: str) -> None:
    """Print seconds of each step, of the first one (with compilation), and peak memory, as JSON."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        step = WAYS[way](Path(folder))
        tokens = torch.randint(VOCAB, (BATCH, CONTEXT + 1))
        seconds = []
        for _ in range(WARM_UP + STEPS):
            started = time.perf_counter()
            step(tokens[:, :-1], tokens[:, 1:])
            seconds.append(time.perf_counter() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first": seconds[0], "seconds": seconds[WARM_UP:], "memory": memory}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way)
        return
    results: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "tests.benchmarks.pretraining", "--way", way]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            results[way].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        way: statistics.median(second for run in runs for second in run["seconds"])
        for way, runs in results.items()
    }
    slowest = medians[next(iter(WAYS))]
    print("| way | a step | tokens/s | times the textbook loop | first step | peak memory |")
    print("|---|---|---|---|---|---|")
    for way, median in medians.items():
        first = statistics.median(run["first"] for run in results[way])
        memory = max(run["memory"] for run in results[way])
        print(
            f"| {way} | {median * 1000:,.0f} ms | {BATCH * CONTEXT / median:,.0f} | {slowest / median:.2f} "
            f"| {first:.1f} s | {memory:,.0f} MB |"
        )


if __name__ == "__main__":
    main()
