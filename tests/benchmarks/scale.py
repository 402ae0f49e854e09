"""What goes over all rows, documents or bytes, as they grow: each against the plain way, row by row.

    python -m tests.benchmarks.scale [--only categories intervals documents labels files] [--most 1000000]

`categories`: means of a hundred rows each, against going through all rows for every category. `intervals`:
a 95% interval of a mean, which is worked out, against 10,000 resamples. `documents`: a batch of 12 x 64
tokens, documents apart, against places in another type than the ends'. `labels`: the checks of every row of
fine-tuning as it is batched, against prompts made into tokens one by one. `files`: the SHA-256 of a file that
was looked up before, against reading it. It asserts nothing; the last table is in docs/benchmarks.md.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tasks.batches.blocks import batch_at
from tasks.batches.tuning import sft_data
from tasks.config import FinetuneConfig
from tasks.data.token_files import Split
from tasks.judge.score.summary import category_means
from tasks.machine.digests import sha256_of
from tasks.makers.skills import make_rows
from tasks.preflight.labels import check_labels
from tasks.rows import write_rows
from tasks.statistics.bounded import bounded_interval
from tasks.statistics.intervals import bootstrap_interval
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import Template

SIZES = [1_000, 10_000, 100_000, 1_000_000]
RESAMPLES, BATCH, CONTEXT, LABELLED, MEGABYTES = 10_000, 12, 64, 10_000, 1_000
Row = tuple[str, float, float | None]
"""How much, seconds of ours, seconds of the plain way where it is waited for."""


def seconds(work: Callable[[], object], rounds: int = 1) -> float:
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def categories(size: int) -> Row:
    draw = np.random.default_rng(0)
    names = [f"category {number}" for number in draw.integers(0, size // 100, size)]
    scores = draw.uniform(0, 100, size).tolist()

    def plainly() -> None:
        for name in sorted(set(names)):
            np.mean([score for own, score in zip(names, scores, strict=True) if own == name])

    plain = seconds(plainly) if size <= 10_000 else None
    return f"{size:,} rows", seconds(lambda: category_means(names, scores, 0.05)), plain


def intervals_of(size: int) -> Row:
    scores = np.random.default_rng(0).beta(2, 1, size) * 100

    drawn = seconds(lambda: bootstrap_interval(scores, RESAMPLES, 1)) if size <= 100_000 else None
    return f"{size:,} rows", seconds(lambda: bounded_interval(scores, 0, 100)), drawn


def documents(size: int) -> Row:
    ends = np.cumsum(np.random.default_rng(0).integers(1, 500, size)).astype("<u8")
    split = Split(np.broadcast_to(np.uint16(7), (int(ends[-1]),)), ends)
    starts = np.random.default_rng(1).integers(0, int(ends[-1]) - CONTEXT, BATCH)
    places = starts[:, None] + np.arange(CONTEXT + 1)

    def plainly() -> None:
        first, last = np.searchsorted(ends, [int(places.min()), int(places.max())], side="right")
        np.searchsorted(ends[first : last + 1], places, side="right")

    ours = seconds(lambda: batch_at(split, starts, CONTEXT, apart=True), 20)
    return f"{size:,} documents", ours, seconds(plainly, 20)


def labels(size: int) -> Row:
    rows = [{"id": number} | row for number, row in enumerate(make_rows(min(size, LABELLED), 123))]
    rows = [rows[number % len(rows)] | {"id": number} for number in range(size)]
    tokenizer = train_bpe([" ".join((row["instruction"], row["output"])) for row in rows[:LABELLED]], 1000)
    with tempfile.TemporaryDirectory() as folder:
        for name, members in (("train", rows), ("validation", []), ("test", [])):
            write_rows(Path(folder, f"{name}.jsonl"), members)
        data = sft_data(FinetuneConfig(), tokenizer, Path(folder), 256)
    ours = seconds(lambda: check_labels(data))
    together = Template.prompts_ids
    with patch.object(
        Template, "prompts_ids", lambda template, rows: [together(template, [row])[0] for row in rows]
    ):
        return f"{size:,} rows", ours, seconds(lambda: check_labels(data))


def files(size: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus")
        block = os.urandom(10**6)
        with path.open("wb") as file:
            for _ in range(size):
                file.write(block)
        time.sleep(1)  # or nothing is kept of it
        with patch("tasks.machine.digests.home", return_value=Path(folder)):
            plain = seconds(lambda: sha256_of(path))
            return f"{size:,} MB", seconds(lambda: sha256_of(path)), plain


def rows(only: list[str], most: int) -> Iterator[tuple[str, Row]]:
    sizes = [size for size in SIZES if size <= most]
    work: dict[str, tuple[Callable[[int], Row], list[int]]] = {
        "categories": (categories, sizes),
        "intervals": (intervals_of, sizes),
        "documents": (documents, sizes),
        "labels": (labels, [size for size in sizes if size <= LABELLED]),
        "files": (files, [size // 1000 for size in sizes if size // 1000 <= MEGABYTES]),
    }
    for name in only:
        measure, these = work[name]
        for size in these:
            yield name, measure(size)


def main() -> None:
    names = ["categories", "intervals", "documents", "labels", "files"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--most", type=int, default=SIZES[-1])
    arguments = parser.parse_args()
    print("| what | how much | ours | the plain way | plain / ours |")
    print("|---|---|---|---|---|", flush=True)
    for name, (size, ours, plain) in rows(arguments.only, arguments.most):
        theirs = ("", "") if plain is None else (f"{plain * 1000:,.1f} ms", f"{plain / ours:,.1f}")
        print(f"| {name} | {size} | {ours * 1000:,.1f} ms | {theirs[0]} | {theirs[1]} |", flush=True)


if __name__ == "__main__":
    main()
