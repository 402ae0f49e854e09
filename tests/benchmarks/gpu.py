"""GPT-2 124M on one GPU: tokens a second, and what share of the card's own matrix rate that is.

    python -m tests.benchmarks.gpu [--batch 32] [--accumulation 4] [--steps 60]

In the precision that the card multiplies in; the goal is half of the matrix rate in it, measured in the same
run. Without a CUDA device it says so and ends with status 3: then nothing was measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from tasks.config import PretrainConfig
from tasks.pretrain.loop import Trainer
from tasks.pretrain.result import speed_of
from tasks.record.stage import StageRun
from tests.benchmarks.corpora import random_tokens
from tests.benchmarks.precision import fastest

VOCAB, CONTEXT, GOAL = 50257, 1024, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32, help="sequences of 1,024 tokens a micro-batch")
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here: not run, nothing measured", file=sys.stderr)
        sys.exit(3)
    config = PretrainConfig(
        size="124M",
        context=CONTEXT,
        batch_size=arguments.batch,
        accumulation=arguments.accumulation,
        steps=arguments.steps,
        optimizer=arguments.optimizer,
        precision=fastest("cuda"),
        compile="always",
        eval_every=arguments.steps,
        device="cuda",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_tokens(folder, VOCAB, 40 * CONTEXT * arguments.batch)
        trainer = Trainer(config, StageRun(folder / "o", folder / "a", folder / "c"), folder)
        trainer.prepare()
        trainer.fit()
    speed = speed_of(trainer)
    memory = torch.cuda.max_memory_allocated() / 2**30
    print("| device | precision | tokens/s | model FLOP/s | matrix FLOP/s, measured | share | peak memory |")
    print("|---|---|---|---|---|---|---|")
    achieved = speed["tokens_per_second"] * speed["flops_per_token"]
    print(
        f"| {speed['device']} | {trainer.precision} | {speed['tokens_per_second']:,.0f} | {achieved:.3g} "
        f"| {speed['matrix_flops_per_second']:.3g} | {speed['utilisation']:.2f} | {memory:.1f} GiB |"
    )
    print(f"the goal of {GOAL} is {'reached' if speed['utilisation'] >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
