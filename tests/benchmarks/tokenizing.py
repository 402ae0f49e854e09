"""Tokenizing corpora of growing size, each in a process of its own: seconds, memory, and cores in use.

    python tests/benchmarks/tokenizing.py [--sizes 10 100 1000] [--kind bpe] [--vocabulary FOLDER]

Sizes are megabytes of text made here, by seed, from Python's own documentation, as one document. The time is
the whole stage's: measuring, training a tokenizer (bpe), encoding, writing. It asserts nothing; the last
table is in docs/benchmarks.md.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

from tasks.config import TokenizeConfig
from tasks.record.stage import StageRun
from tasks.tokenize.stage import tokenize

SEED = 123


def write_corpus(path: Path, size: int) -> None:
    """`size` bytes or a little more: paragraphs in an order of their own, with numbers among them."""
    rng = random.Random(SEED)
    paragraphs = [paragraph for text in topics.values() for paragraph in text.split("\n\n")]
    written = 0
    with path.open("wb") as file:
        while written < size:
            rng.shuffle(paragraphs)
            texts = (f"{text}\n\n{rng.randrange(10**9)} " for text in paragraphs)
            written += file.write("".join(texts).encode()[: size - written])


def measure(corpus: Path, kind: str, vocabulary: Path | None) -> None:
    """Print the figures of one size as JSON; `before` is the memory of the libraries alone."""
    with tempfile.TemporaryDirectory() as name:
        folders = {part: Path(name, part) for part in ("out", "auxiliary", "checkpoint")}
        before, busy, started = _peak(), sum(os.times()[:2]), time.perf_counter()
        tokenize(TokenizeConfig(kind=kind), StageRun(**folders), corpus=corpus, vocabulary=vocabulary)
        seconds = time.perf_counter() - started
        found = {"seconds": seconds, "cores": (sum(os.times()[:2]) - busy) / seconds, "before": before}
        print(json.dumps(found | {"peak": _peak()}))


def _peak() -> float:
    """Largest resident memory of this process in MB; getrusage would count the one that started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="megabytes")
    parser.add_argument("--kind", choices=["bpe", "gpt2"], default="bpe")
    parser.add_argument("--vocabulary", type=Path, help="for gpt2: encoder.json and vocab.bpe")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)  # in the process of one size
    options = parser.parse_args()
    if options.corpus:
        measure(options.corpus, options.kind, options.vocabulary)
        return
    print("| corpus | seconds | MB/s | peak memory | of it libraries | cores in use |")
    print("|---|---|---|---|---|---|", flush=True)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as corpus:
            write_corpus(Path(corpus, "corpus.txt"), size * 10**6)
            command = [sys.executable, *sys.argv, "--corpus", corpus]
            found = json.loads(subprocess.check_output(command))
        seconds, cores = found["seconds"], f"{found['cores']:.2f} of {os.cpu_count()}"
        memory = f"{found['peak']:.0f} MB | {found['before']:.0f} MB"
        print(f"| {size:,} MB | {seconds:.1f} | {size / seconds:.1f} | {memory} | {cores} |", flush=True)


if __name__ == "__main__":
    main()
