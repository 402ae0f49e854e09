"""Small labelled rows and models for the trials of classification."""

import torch
from tokenizers import processors
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tasks.models.gpt import GPT, GPTConfig
from tasks.rows import write_rows
from tasks.tokenize.stage import train_bpe

CONTEXT = 48
HAM = "mother home dinner tomorrow letter garden".split()
SPAM = "prize winner claim cash urgent offer".split()
SPECIAL = "<|endoftext|>"
MODELS = {
    "gpt2": lambda size, pad: GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=2, pad_token_id=pad)
    ),
    "bloom": lambda size, pad: BloomForCausalLM(
        BloomConfig(vocab_size=size, hidden_size=16, n_layer=2, n_head=2, pad_token_id=pad)
    ),
    "llama": lambda size, pad: LlamaForCausalLM(LlamaConfig(**_shape(size, pad))),
    "qwen2": lambda size, pad: Qwen2ForCausalLM(Qwen2Config(**_shape(size, pad))),
}
LAST_PARTS = {
    "gpt2": ("transformer.h.1", "transformer.ln_f", "score"),
    "bloom": ("transformer.h.1", "transformer.ln_f", "score"),
    "llama": ("model.layers.1", "model.norm", "score"),
    "qwen2": ("model.layers.1", "model.norm", "score"),
}


def _shape(size, pad):
    return {
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": pad,
    }


def text_row(index):
    """A message of five to ten words, some of them of its label, and three of the row's own."""
    label, words = (("ham", HAM), ("spam", SPAM))[index % 2]
    own = [words[(index * step) % 6] for step in range(1, 2 + index % 4)]
    numbers = (index, 7 * index % 100, 13 * index % 100)
    alone = [
        sign + "abcdefghij"[number // 10] + "klmnopqrst"[number % 10]
        for sign, number in zip("xyz", numbers, strict=True)
    ]
    return {
        "id": index,
        "text": " ".join(["note", *own, *own[: index % 3], *alone]),
        "label": label,
    }


def text_rows_in(folder, train=25, validation=7, test=12):
    folder.mkdir(parents=True)
    every = [text_row(index) for index in range(train + validation + test)]
    for name, members in {
        "train": every[:train],
        "validation": every[train : train + validation],
        "test": every[train + validation :],
    }.items():
        write_rows(folder / f"{name}.jsonl", members)
    return folder


def message_tokenizer():
    return train_bpe([str(text_row(index)["text"]) for index in range(50)], 320)


def gpt_in(folder, tokenizer, dropout=0.0):
    """A base as the pretrain stage leaves it."""
    torch.manual_seed(11)
    shape = GPTConfig(
        len(tokenizer),
        CONTEXT,
        layers=2,
        heads=2,
        width=16,
        dropout=dropout,
        end_token=tokenizer.eos_token_id,
    )
    GPT(shape).save(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def model_in(folder, family):
    """A base of a family; Llama's tokenizer begins every text, and all pad with the end token on the left."""
    tokenizer = message_tokenizer()
    tokenizer.pad_token, tokenizer.padding_side = SPECIAL, "left"
    if family == "llama":
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL} $A", special_tokens=[(SPECIAL, tokenizer.bos_token_id)]
        )
    torch.manual_seed(11)
    MODELS[family](len(tokenizer), None).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder
