"""A small encoder-decoder with random weights and a tokenizer of the training rows: nothing is imported."""

from pathlib import Path

from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from tasks.config import BaseConfig
from tasks.errors import StageError
from tasks.models.seq2seq import random_seq2seq
from tasks.record.stage import StageRun
from tasks.rows import texts_of
from tasks.tokenize.stage import train_bpe


def write_random_model(config: BaseConfig, run: StageRun, rows: Path | None) -> int:
    """Write `model/`, with a byte-level BPE that ends every text as T5's does; returns its number of weights.

    Raises StageError without training rows.
    """
    texts = list(texts_of(rows)) if rows else []
    if not texts:
        raise StageError("base.weights=random trains its tokenizer on the training rows, and there are none")
    run.phase("training the tokenizer on the training rows")
    tokenizer = ending_texts(train_bpe(texts, config.vocab_size))
    run.phase("drawing the weights")
    model = random_seq2seq(config.model, config.size, tokenizer, config.seed)
    model.save_pretrained(run.out / "model")
    tokenizer.save_pretrained(run.out / "model")
    return model.num_parameters()


def ending_texts(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, in place, with its end token put behind every text, as T5's has it."""
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    return tokenizer
