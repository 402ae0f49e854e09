"""Responses to 110 instruction prompts by GPT-2 124M, ours and as one finds them in the field, as ratios.

    python -m tests.benchmarks.generation --rows instruction-data.json --vocabulary gpt2/

It asserts nothing; the last table is in docs/benchmarks.md. Each way runs in a process of its own, several
rounds in turn, and is timed from the token ids of the prompts to those of the responses, without loading.
Without `--rows` the prompts are made ones, without `--vocabulary` their tokens are of a BPE trained on them.
The weights are random, so that hardly any response comes to its end token. Rivals are in the precision that
this machine multiplies in, the book's way in float32; each way is printed as it is done, the medians last.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from tasks.config import GenerateConfig
from tasks.generate.decoding import Decoder, Prompt, batches
from tasks.machine.device import pick_device
from tasks.makers.skills import make_rows
from tasks.models.loading import use_fused_gelu
from tasks.tokenize.stage import load_gpt2, train_bpe
from tasks.tokenize.templates import load_template
from tests.benchmarks.precision import fastest

FASTEST = fastest()
ROWS, BOOK_ROWS, END, CONTEXT = 110, 2, 50256, 1024
Ids = list[list[int]]
Way = Callable[[GPT2LMHeadModel, Ids, int], int]


def book(model: GPT2LMHeadModel, prompts: Ids, new: int) -> int:
    """Raschka's `generate` (Build a Large Language Model, 5.3): one row, everything read for every token."""
    count = 0
    for prompt in prompts:
        ids = torch.tensor([prompt])
        for _ in range(new):
            logits = model(ids[:, -CONTEXT:], use_cache=False).logits[:, -1, :]
            latest = torch.argmax(logits, dim=-1, keepdim=True)
            if latest == END:
                break
            ids, count = torch.cat((ids, latest), dim=1), count + 1
    return count


def hugging_face(model: GPT2LMHeadModel, prompts: Ids, new: int, size: int = 55) -> int:
    model.to(getattr(torch, FASTEST))
    config = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=END, pad_token_id=END)
    count = 0
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        longest = max(map(len, batch))
        output = model.generate(
            torch.tensor([[END] * (longest - len(ids)) + ids for ids in batch]),
            attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch]),
            generation_config=config,
        )[:, longest:]
        count += int((output != END).sum())
    return count


def ours(model: GPT2LMHeadModel, prompts: Ids, new: int, precision: str) -> int:
    config = GenerateConfig(max_new_tokens=new, precision=precision)
    decoder = Decoder(use_fused_gelu(model).to(getattr(torch, precision)), config, frozenset({END}))
    rows = [Prompt(row, ids, new) for row, ids in enumerate(prompts)]
    return sum(
        len(tokens)
        for batch in batches(rows, config.batch_tokens)
        for finished in decoder.decode(batch)
        for _, tokens in finished
    )


WAYS: dict[str, Way] = {
    "the book: one at a time, no cache, float32": book,
    f"Hugging Face: batches of 55, {FASTEST}": hugging_face,
    **{
        f"Touchstone, {precision}": partial(ours, precision=precision)
        for precision in dict.fromkeys(("float32", FASTEST))
    },
}
BOOK, THEIRS = list(WAYS)[:2]


def prompts_of(rows: Path | None, vocabulary: Path | None) -> Ids:
    found = json.loads(rows.read_text()) if rows else make_rows(ROWS, 1)
    chosen = random.Random(1).sample(found, ROWS)
    texts = [" ".join(row.values()) for row in chosen]
    tokenizer = load_gpt2(vocabulary) if vocabulary else train_bpe(texts, 4096)
    template = load_template("alpaca", tokenizer)
    return [template.prompt_ids(row) for row in chosen]


@torch.no_grad()
def measure(way: str, prompts: Ids, new: int) -> None:
    """Print seconds, tokens and peak memory in MB as JSON. Two rows first, so that nothing is first."""
    pick_device("cpu")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    WAYS[way](model, prompts[:2], 2)
    if way == BOOK:
        prompts = sorted(prompts, key=len)[len(prompts) // 2 :][:BOOK_ROWS]
    started = time.perf_counter()
    tokens = WAYS[way](model, prompts, new)
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "tokens": tokens, "memory": memory}))


def table(results: dict[str, list[dict]]) -> str:
    rates = {
        way: [run["tokens"] / run["seconds"] for run in runs] for way, runs in results.items()
    }  # per round

    def times(way: str, rival: str) -> float:
        return statistics.median(ours / theirs for ours, theirs in zip(rates[way], rates[rival], strict=True))

    lines = [
        "| way | tokens | tokens/s | times the book | times Hugging Face | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for way, runs in results.items():
        memory = max(run["memory"] for run in runs)
        rate = statistics.median(rates[way])
        lines.append(
            f"| {way} | {runs[0]['tokens']:,} | {rate:,.0f} | {times(way, BOOK):.1f} "
            f"| {times(way, THEIRS):.2f} | {memory:,.0f} MB |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, help="JSON rows with instruction, input and output")
    parser.add_argument("--vocabulary", type=Path, help="folder with encoder.json and vocab.bpe")
    parser.add_argument("--new", type=int, default=64, help="tokens of a response")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    prompts = prompts_of(arguments.rows, arguments.vocabulary)
    if arguments.way:
        measure(arguments.way, prompts, arguments.new)
        return
    lengths = sorted(map(len, prompts))
    print(
        f"{ROWS} prompts of {lengths[0]} to {lengths[-1]} tokens, median {lengths[ROWS // 2]}; "
        f"the book's way answers {BOOK_ROWS} of them. {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    results: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "tests.benchmarks.generation", *sys.argv[1:], "--way", way]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            results[way].append(run := json.loads(done.stdout.splitlines()[-1]))
            print(f"{way}: {run['tokens'] / run['seconds']:,.1f} tokens/s", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
