"""The `shakespeare` profile against plain AdamW in nanoGPT's CPU setting: losses, and wall-clock as a ratio.

    python -m tests.benchmarks.shakespeare tinyshakespeare.txt

Plain: a lean GPT of 4 layers, 4 heads, 128 wide, 12 x 64 characters, 2,000 steps of AdamW in float32, its
batches drawn at random; only its steps are timed. Ours: the whole pretraining stage as the profile has it,
with preflight, evaluations, samples, checkpoints and the written model. Each runs in a process of its own;
both are evaluated on the full validation split. It asserts nothing; the last table is in docs/benchmarks.md.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from tasks.batches.blocks import batch_at, validation_batches
from tasks.data.token_files import TokenFiles, load_tokens
from tasks.machine.json_files import read_json
from tasks.pretrain.stage import pretrain
from tasks.record.stage import StageRun
from tasks.tokenize.stage import tokenize
from tests.benchmarks.baselines import LeanGPT, Shape

WAYS = ("plain", "ours")
STEPS, WARM_UP, BATCH, CONTEXT, RATE = 2000, 100, 12, 64, 1e-3


def plain(files: TokenFiles) -> tuple[float, float, str]:
    """Seconds in steps, the loss by the full validation split, and the precision, of nanoGPT's setting."""
    torch.manual_seed(1337)
    model = LeanGPT(Shape(files.vocab_size, CONTEXT, 4, 4, 128))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    seconds = 0.0
    for step in range(STEPS):
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = _rate(step)
        starts = torch.randint(len(files.train) - CONTEXT, (BATCH,)).numpy()
        batch = batch_at(files.train, starts, CONTEXT, apart=False)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.labels.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.perf_counter() - started
    return seconds, _validation_loss(model, files), "float32"


def _rate(step: int) -> float:
    """Warm-up, then a cosine to a tenth."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    through = (step - WARM_UP) / (STEPS - WARM_UP)
    return RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * through)))


@torch.no_grad()
def _validation_loss(model: LeanGPT, files: TokenFiles) -> float:
    model.eval()
    losses: list[Tensor] = []
    for batch in validation_batches(files.validation, CONTEXT, 64, apart=False):
        logits = model(batch.inputs).flatten(0, 1)
        losses.append(F.cross_entropy(logits, batch.labels.flatten(), reduction="none"))
    return torch.cat(losses).mean().item()


def ours(tokens: Path, folder: Path) -> tuple[float, float, str]:
    """Seconds of the whole stage, the loss of the model it writes, and the precision that it picked."""
    run = _run(folder)
    started = time.perf_counter()
    pretrain(_profile().pretrain, run, tokens=tokens)
    seconds = time.perf_counter() - started
    summary, speed = map(read_json, (run.out / "summary.json", run.auxiliary / "speed.json"))
    return seconds, summary["best_validation_loss"], speed["precision"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:  # a process of its own; the corpus is then the folder of its tokens
        with tempfile.TemporaryDirectory() as name:
            tokens = arguments.corpus
            plainly = arguments.way == "plain"
            print(json.dumps(plain(load_tokens(tokens)) if plainly else ours(tokens, Path(name))))
        return
    print(
        "| round | plain, float32: steps | plain: loss | ours: precision | ours: the whole stage "
        "| ours: loss | ours / plain, time |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        shutil.copy(arguments.corpus, folder / "corpus" / "text.txt")
        tokens = _run(folder / "tokens")
        tokenize(_profile().tokenize, tokens, corpus=folder / "corpus")
        for number in range(1, arguments.rounds + 1):
            (seconds, loss, _), (our_seconds, our_loss, precision) = (
                _measured(way, tokens.out) for way in WAYS
            )
            print(
                f"| {number} | {seconds:.1f} s | {loss:.3f} | {precision} | {our_seconds:.1f} s "
                f"| {our_loss:.3f} | {our_seconds / seconds:.2f} |",
                flush=True,
            )


def _measured(way: str, tokens: Path) -> tuple[float, float, str]:
    command = [sys.executable, "-m", "tests.benchmarks.shakespeare", str(tokens), "--way", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _profile() -> Profile:
    return load_profile("shakespeare", ["pretrain.device=cpu"])


def _run(folder: Path) -> StageRun:
    return StageRun(folder / "out", folder / "auxiliary", folder / "checkpoint")


if __name__ == "__main__":
    main()
