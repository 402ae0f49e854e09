"""A training step of a masked language model, its head on the labelled tokens or on all, as ratios.

    python -m tests.benchmarks.masked [--rounds 7]

It asserts nothing; the table is in docs/benchmarks.md. The two ways take turns in one process, on the same
model and batch: forward and backward in the precision that this machine multiplies in; medians.
"""

import argparse
import statistics
import time

import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM

from tasks.data.token_files import IGNORED
from tasks.machine.device import autocast
from tasks.models.masked import MaskedModel
from tests.benchmarks.precision import fastest

CPU = torch.device("cpu")
SHARE = 0.15
# Name: layers, heads, width, vocabulary, rows, tokens of a row.
SHAPES = {
    "profile masked": (4, 4, 128, 1024, 32, 32),
    "mini, BERT's vocabulary": (4, 4, 256, 30522, 8, 128),
}


def _both(shape: tuple[int, ...], rounds: int, precision: str) -> tuple[float, float]:
    layers, heads, width, vocabulary, rows, tokens = shape
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=tokens,
    )
    torch.manual_seed(1)
    model = MaskedModel(BertForMaskedLM(config)).train()
    ids = torch.randint(vocabulary, (rows, tokens))
    labels = torch.where(torch.rand(ids.shape) < SHARE, ids, IGNORED)

    def own() -> torch.Tensor:
        return model(ids, labels)

    def every() -> torch.Tensor:
        logits = model(ids).float().flatten(0, 1)
        return F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")

    seconds: dict = {own: [], every: []}
    for turn in range(rounds + 1):
        for way in (own, every):
            started = time.perf_counter()
            with autocast(CPU, precision):
                loss = way()
            loss.backward()
            if turn:  # the first warms up
                seconds[way].append(time.perf_counter() - started)
            model.zero_grad(set_to_none=True)
    return statistics.median(seconds[own]), statistics.median(seconds[every])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    precision = fastest()
    print(f"| shape, in {precision} | labelled tokens alone | every token | ratio |")
    print("|---|---|---|---|")
    for name, shape in SHAPES.items():
        own, every = _both(shape, rounds, precision)
        print(f"| {name} | {own:.3f} s | {every:.3f} s | {every / own:.2f} |", flush=True)


if __name__ == "__main__":
    main()
