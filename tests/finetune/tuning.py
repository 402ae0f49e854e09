"""Small rows, models and runs for the trials of fine-tuning."""

import json

import torch

from tasks.batches.supervised import supervise
from tasks.finetune.sft import finetune
from tasks.models.gpt import GPT, GPTConfig
from tasks.rows import MIXED_FROM, load_split, write_rows
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import load_template
from tests.runs import stage_run_in

CONTEXT = 64
WORDS = "pear fig plum apricot cherry banana elderberry grape kiwi lemon mango nectarine".split()


def row_of(index):
    """A row whose completion grows with its number; chosen and rejected for what prefers."""
    word = WORDS[index % len(WORDS)]
    times = index // len(WORDS) + 1
    return {
        "id": index,
        "instruction": f"Say {word} {times} times.",
        "input": "",
        "output": " ".join([word] * times),
        "chosen": " ".join([word] * times),
        "rejected": " ".join(["none", word]),
    }


def rows_in(folder, train=25, validation=7):
    folder.mkdir()
    every = [row_of(index) for index in range(train + validation + 1)]
    for name, members in {
        "train": every[:train],
        "validation": every[train : train + validation],
        "test": every[-1:],
    }.items():
        write_rows(folder / f"{name}.jsonl", members)
    return folder


def mixed_rows_in(folder, sources):
    """As `rows_in`, of which each validation row names its source, or none."""
    rows_in(folder, validation=len(sources))
    members = zip(load_split(folder, "validation"), sources, strict=True)
    write_rows(
        folder / "validation.jsonl", [row | ({MIXED_FROM: name} if name else {}) for row, name in members]
    )
    return folder


def base_in(folder, tokenizer, dropout):
    torch.manual_seed(11)
    shape = GPTConfig(
        vocab_size=len(tokenizer),
        context=CONTEXT,
        layers=2,
        heads=2,
        width=16,
        dropout=dropout,
        end_token=tokenizer.eos_token_id,
    )
    GPT(shape).save(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def word_tokenizer():
    rows = [row_of(index) for index in range(40)]
    return train_bpe(
        [f"<|user|>{row['instruction']}<|end|><|assistant|>{row['output']}" for row in rows], 300
    )


def supervised(tokenizer, rows, length):
    return [supervise(load_template("phi3", tokenizer), row, length) for row in rows]


def history_in(run, name):
    lines = (run.out / "history.jsonl").read_text().splitlines()
    return [entry[name] for entry in map(json.loads, lines) if name in entry]


def assert_same_outputs(one, other):
    for name in ("model/model.safetensors", "history.jsonl", "summary.json"):
        assert (one.out / name).read_bytes() == (other.out / name).read_bytes(), name


def tuned(config, base, rows, folder, **watching):
    run = stage_run_in(folder, **watching)
    finetune(config, run, base=base, rows=rows)
    return run
