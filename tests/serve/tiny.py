"""A GPT-2 of a few thousand random weights, as the output of the finetune stage has it."""

import json

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tasks.serve.models import LocalModel, local_model
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import load_template

WORDS = "Below is an instruction that describes a task. Name the opposite of hot. The capital of France is"


def tiny_model(folder, template="alpaca", context=256, name="tiny") -> LocalModel:
    """Written to `folder`, and named."""
    torch.manual_seed(0)
    tokenizer = train_bpe([WORDS], 300)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=context,
        n_embd=64,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = GPT2LMHeadModel(config)
    model.save_pretrained(folder / "model")
    load_template(template, tokenizer).export(tokenizer).save_pretrained(folder / "model")
    summary = {"method": "sft", "template": template, "parameters": model.num_parameters()}
    (folder / "summary.json").write_text(json.dumps(summary))
    return local_model(folder, name)
