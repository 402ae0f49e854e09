"""Made-up inputs for benchmarks."""

import json
from pathlib import Path

import numpy as np

from tasks.data.token_files import END_OFFSET, FACTS, ends_path, token_path
from tasks.tokenize.stage import train_bpe


def random_tokens(folder: Path, vocab_size: int, count: int, documents: int = 1) -> None:
    """What the tokenize stage writes, of `count` random tokens a split; the last of the vocabulary ends."""
    ends = np.linspace(0, count, documents + 1).astype(END_OFFSET)[1:]
    tokens = np.random.default_rng(1).integers(0, vocab_size - 1, count).astype(np.uint16)
    tokens[ends - 1] = vocab_size - 1
    split = {"tokens": count, "bytes": 4 * count, "documents": documents}
    split["unpredicted_bytes"] = {"joined": 4, "apart": 4 * documents}
    facts = {
        "dtype": "uint16",
        "vocab_size": vocab_size,
        "end_token": vocab_size - 1,
        "train": split,
        "validation": split,
    }
    for name in ("train", "validation"):
        tokens.tofile(token_path(folder, name))
        ends.tofile(ends_path(folder, name))
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    train_bpe(["any tokenizer will do"], 300).save_pretrained(folder / "tokenizer")
