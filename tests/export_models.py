"""Tiny models as stages leave them, with rows, responses and scores, for exports."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tasks.config import GenerateConfig, JudgeConfig
from tasks.generate.stage import generate
from tasks.judge.score.stage import judge
from tasks.rows import write_rows
from tasks.tokenize.stage import characters, train_bpe
from tasks.tokenize.templates import load_template

TEXTS = ["the cat sat on the mat, the other cat on the other mat", "Grüße aus Köln 天地"]
CONTEXT = 192
REFERENCES = ["a cat", "the mat", "an other cat sat", "on", "a mat"]


@dataclass
class Made:
    """Folders of outputs, by the names of a stage's inputs."""

    folders: dict[str, Path]
    tokenizer: object

    def __getitem__(self, name):
        return self.folders[name]


def tokenizer_of(size=320, kind="bpe"):
    return train_bpe(TEXTS, size) if kind == "bpe" else characters(TEXTS)


def network_of(tokenizer):
    torch.manual_seed(1)
    shape = {"n_positions": CONTEXT, "n_embd": 64, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **ends)).eval()
    with torch.no_grad():  # small weights make answers that the end of the vocabulary decides
        for weight in model.parameters():
            weight.mul_(4.0)
    return model


def model_in(folder, template="phi3", kind="bpe", network=None):
    """The output of a fine-tuning."""
    tokenizer = tokenizer_of(kind=kind)
    network = network or network_of(tokenizer)
    network.save_pretrained(folder / "model")
    load_template(template, tokenizer).export(tokenizer).save_pretrained(folder / "model")
    summary = {"template": template, "parameters": network.num_parameters()}
    (folder / "summary.json").write_text(json.dumps(summary))
    return Made({"model": folder}, tokenizer)


def answered(made, folder, stage_run, template):
    """With rows, and the model's responses to them, scored."""
    rows = [
        {"id": place, "instruction": f"Say {text}.", "input": "", "output": text}
        for place, text in enumerate(REFERENCES)
    ]
    (folder / "rows").mkdir(parents=True)
    write_rows(folder / "rows" / "test.jsonl", rows)
    run = stage_run("generate")
    config = GenerateConfig(template=template, max_new_tokens=6, device="cpu")
    generate(config, run, model=made["model"], rows=folder / "rows")
    scored = stage_run("judge")
    judge(JudgeConfig(), scored, responses=run.out)
    made.folders |= {"rows": folder / "rows", "responses": run.out, "scores": scored.out}
    return made
