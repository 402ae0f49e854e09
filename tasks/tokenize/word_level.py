"""Vocabularies without sub-words: a token a character, or a token a word; what they lack is unknown."""

from collections.abc import Iterable

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
PAD = "<|pad|>"
UNKNOWN = "<|unk|>"
EVERY_CHARACTER = r"[\s\S]"

# Raschka 2024, "Build a Large Language Model (From Scratch)", section 2.2, with typographic marks as well.
# The bar parts what looks like a special token, which then is none.
MARKS = r"""[,.:;?_!"()'|“”‘’…—]|--"""
FOLLOWS_A_SPACE = r"""^(?![,.:;?!)”’…']|--)"""  # a token that is no mark that closes
NO_SPACE_AFTER = r"(?<=[(“‘])\s|(?<=--)\s|(?<=['’])\s(?=(?:[stdm]|ll|re|ve)\b)"  # it's, we'll


def characters(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token for each character that occurs; others become the unknown token."""
    seen = np.zeros(0x110000, dtype=bool)  # a code point; a set of characters would take ten times as long
    for text in texts:
        seen[np.frombuffer(text.encode("utf-32-le"), dtype="<u4")] = True
    alphabet = map(chr, np.flatnonzero(seen))
    vocab = {token: index for index, token in enumerate([END, PAD, UNKNOWN, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(EVERY_CHARACTER), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return wrapped(tokenizer, pad_token=PAD, unk_token=UNKNOWN)


def words(texts: Iterable[str], vocab_size: int, min_frequency: int) -> PreTrainedTokenizerFast:
    """One token for each of the most frequent words and punctuation marks; others become the unknown token.

    Spaces and line breaks only part words, and are lost: decoding puts a space between words and none before
    a mark that closes.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(MARKS), behavior="isolated"), pre_tokenizers.WhitespaceSplit()]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(FOLLOWS_A_SPACE), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(NO_SPACE_AFTER), ""),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[END, PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrapped(tokenizer, pad_token=PAD, unk_token=UNKNOWN)


def wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    """A tokenizer as Transformers has them, whose end token begins texts too."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        **special,
    )
