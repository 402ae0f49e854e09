"""Time and memory of a training step as the model grows, each size in a process of its own.

    python -m tests.benchmarks.growth [--sizes quickstart cpu 124M 355M]

One step has 2 sequences of 256 tokens of GPT-2's vocabulary, in the precision that `auto` picks. Utilisation
is the share of the bfloat16 or float32 matrix rate measured in the same process.
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

from tasks.config import SIZES, PretrainConfig
from tasks.pretrain.loop import Trainer
from tasks.pretrain.speed import matrix_rate
from tasks.record.stage import StageRun
from tests.benchmarks.corpora import random_tokens

VOCAB, CONTEXT, BATCH, WARM_UP, STEPS = 50257, 256, 2, 2, 5


def measure(size: str) -> None:
    """Print what one size takes, as JSON."""
    config = PretrainConfig(size=size, context=CONTEXT, batch_size=BATCH, compile="never", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_tokens(folder, VOCAB, 100_000)
        trainer = Trainer(config, StageRun(folder / "o", folder / "a", folder / "c"), folder)
        trainer.prepare()
        seconds = []
        for _ in range(WARM_UP + STEPS):
            started = time.perf_counter()
            trainer._step()
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[WARM_UP:])
    flops = trainer.plain.flops_per_token(CONTEXT) * trainer.tokens_per_step
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "parameters": trainer.plain.parameter_count(),
                "precision": trainer.precision,
                "seconds": median,
                "utilisation": flops / median / matrix_rate(trainer.device, trainer.precision),
                "memory": memory,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["quickstart", "cpu", "124M", "355M"])
    arguments = parser.parse_args()
    if arguments.size:
        measure(arguments.size)
        return
    print("| size | parameters | precision | a step | tokens/s | utilisation | peak memory | a parameter |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for size in arguments.sizes:
        command = [sys.executable, "-m", "tests.benchmarks.growth", "--size", size]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {size} | {found['parameters'] / 1e6:,.1f} M | {found['precision']} "
            f"| {found['seconds'] * 1000:,.0f} ms | {BATCH * CONTEXT / found['seconds']:,.0f} "
            f"| {found['utilisation']:.2f} | {found['memory'] / 1e9:.1f} GB "
            f"| {found['memory'] / found['parameters']:.0f} bytes |",
            flush=True,
        )


if __name__ == "__main__":
    main()
