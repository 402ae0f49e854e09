"""Small labelled rows and models for the trials of classification."""

import json

import torch
from tokenizers import processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    BloomConfig,
    BloomForCausalLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
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
# As they come: the masked model of each kind, and of BERT the backbone alone, which has a pooler.
ENCODERS = {
    "bert": lambda size: BertForMaskedLM(BertConfig(**_encoder_shape(size))),
    "bert with its pooler": lambda size: BertModel(BertConfig(**_encoder_shape(size))),
    "distilbert": lambda size: DistilBertForMaskedLM(
        DistilBertConfig(
            vocab_size=size,
            dim=16,
            hidden_dim=24,
            n_layers=2,
            n_heads=2,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
        )
    ),
    "roberta": lambda size: RobertaForMaskedLM(
        RobertaConfig(
            **_encoder_shape(size) | {"max_position_embeddings": CONTEXT + 2},
            pad_token_id=1,
            type_vocab_size=1,
        )
    ),
}
ENCODER_HEADS = {
    "bert": ("bert.pooler", "classifier"),
    "bert with its pooler": ("bert.pooler", "classifier"),
    "distilbert": ("pre_classifier", "classifier"),
    "roberta": ("classifier",),
}
LAST_BLOCKS = {
    "bert": "bert.encoder.layer.1",
    "bert with its pooler": "bert.encoder.layer.1",
    "distilbert": "distilbert.transformer.layer.1",
    "roberta": "roberta.encoder.layer.1",
}


def _encoder_shape(size):
    return {
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.2,  # at this width what 0.02 is at 768
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


def wordpieces():
    """BERT's own tokenizer, whose vocabulary is a few words and every letter: others come in pieces."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'"]
    pieces = ["note", *HAM, *SPAM, *letters, *(f"##{letter}" for letter in letters)]
    every = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(every)})


def byte_pieces():
    """RoBERTa's own tokenizer: bytes and merges, in which padding is token 1."""
    trained = json.loads(message_tokenizer().backend_tokenizer.to_str())["model"]
    pieces = [piece for piece in trained["vocab"] if piece != SPECIAL]
    every = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"]
    merges = [tuple(merge) for merge in trained["merges"]]
    return RobertaTokenizer({piece: number for number, piece in enumerate(every)}, merges)


def encoder_in(folder, kind):
    """An encoder as its folder is found in the hub."""
    tokenizer = byte_pieces() if kind == "roberta" else wordpieces()
    torch.manual_seed(11)
    ENCODERS[kind](len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder
