"""What a tokenizer loses of the rows is told before training."""

import pytest

from tasks.batches.tuning import sft_data
from tasks.config import FinetuneConfig
from tasks.preflight.roundtrip import text_comes_back
from tasks.rows import SPLITS, write_rows
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.word_level import characters, words

ROWS = [
    {"id": place, "instruction": f"Say {word}", "input": "", "output": f"{word}\n{word}"}
    for place, word in enumerate(("anchor", "Ünde", "basket"))
]
KNOWN = " ".join(row["instruction"] + " " + row["output"] for row in ROWS)


@pytest.fixture
def data(tmp_path):
    def make(tokenizer):
        for split, row in zip(SPLITS, ROWS, strict=True):
            write_rows(tmp_path / f"{split}.jsonl", [row])
        return sft_data(FinetuneConfig(template="plain", device="cpu"), tokenizer, tmp_path, 300)

    return make


def test_bytes_lose_nothing(data):
    found = text_comes_back(data(train_bpe([KNOWN], 300)))
    assert (found.verdict, found.found) == ("passed", "all 6 texts")


def test_words_lose_line_breaks(data):
    found = text_comes_back(data(words([KNOWN], 300, 1)))
    assert (found.verdict, found.found) == (
        "info",
        "3 of 6 texts do not, 0 of them with unknown tokens; the first, train row 0: "
        "'anchor\\nanchor' becomes 'anchor anchor'",
    )


def test_characters_never_seen_are_named(data):
    found = text_comes_back(data(characters([KNOWN.replace("Ü", "U")])))
    assert found.found == (
        "2 of 6 texts do not, 2 of them with unknown tokens; the first, validation row 1: "
        "'Say Ünde' becomes 'Say <|unk|>nde' (<|unk|> stands for what is unknown)"
    )
