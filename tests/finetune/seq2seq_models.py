"""Encoder-decoders of several kinds, small and with random weights, with tokenizers like their own."""

from functools import cache

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.finetune.tuning import CONTEXT, row_of

KINDS = ("t5", "bart", "pegasus")
TEXTS = [text for index in range(40) for text in (row_of(index)["instruction"], row_of(index)["output"])]


def unigram_tokenizer():
    """As T5's: Unigram, spaces as ▁, padding 0, and an end token behind every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def byte_tokenizer():
    """As BART's: byte-level BPE, every text between <s> and </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", AddedToken("<unk>")],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def network(kind, tokenizer, dropout=0.0):
    torch.manual_seed(11)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(tokenizer),
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                dropout_rate=dropout,
                decoder_start_token_id=tokenizer.pad_token_id,
                **ids,
            )
        )
    shape = {
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "dropout": dropout,
        "max_position_embeddings": CONTEXT,
    }
    if kind == "pegasus":
        start = tokenizer.pad_token_id
        return PegasusForConditionalGeneration(
            PegasusConfig(
                **shape, **ids, decoder_start_token_id=start, forced_eos_token_id=None, init_std=0.2
            )
        )
    return BartForConditionalGeneration(
        BartConfig(
            **shape,
            **ids,
            bos_token_id=tokenizer.bos_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=None,
            init_std=0.2,
        )
    )


@cache
def tokenizer_of(kind):
    """Trained once: what a Unigram learns of equal counts is not the same each time."""
    return byte_tokenizer() if kind == "bart" else unigram_tokenizer()


def seq2seq_in(folder, kind, dropout=0.0):
    tokenizer = tokenizer_of(kind)
    network(kind, tokenizer, dropout).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder
