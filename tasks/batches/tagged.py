"""Sentences as a classifier of words reads them: a label on the first token of each word, on no other.

The words are joined with spaces, so that they have the tokens that they have in any text, and the first token
of each is found by where its characters are: whatever the tokenizer does with a space, or in a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.batches.labelled import Labelled, Text
from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.rows import Row
from tasks.rows.tagged_words import sentence


@dataclass(frozen=True)
class TaggedText(Text):
    """A sentence: `label` is the number of words, of which each has its tag's place and first token."""

    tags: tuple[int, ...] = ()
    firsts: tuple[int | None, ...] = ()
    """Where each word's first token is; None for a word that was cut off."""

    @property
    def labels(self) -> list[int]:
        """A tag's place on the first token of its word, IGNORED on all others."""
        found = [IGNORED] * len(self.input_ids)
        for tag, first in zip(self.tags, self.firsts, strict=True):
            if first is not None:
                found[first] = tag
        return found


@dataclass(frozen=True)
class TaggedTexts(Labelled):
    """Sentences of all splits; `labels` are tags."""

    def targets(self, texts: Sequence[TaggedText], longest: int) -> Tensor:
        """(texts, longest): padding is IGNORED too."""
        return torch.tensor([text.labels + [IGNORED] * (longest - len(text.input_ids)) for text in texts])


def tagged_texts(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], places: dict[str, int]
) -> list[TaggedText]:
    """The rows' words in tokens, cut at the tokenizer's longest; `places` says which output each tag is.

    A tag that is not among them has the place IGNORED. Raises StageError for a tokenizer that cannot tell
    where its tokens are, and for a word that begins within a token of the word before.
    """
    if not rows:
        return []
    if not tokenizer.is_fast:
        raise StageError(
            f"the base's tokenizer ({type(tokenizer).__name__}) does not tell where its tokens are in a "
            "text, so that words could not be found again. Name a base with a fast tokenizer (tokenizer.json)"
        )
    texts = [sentence(row) for row in rows]
    whole = tokenizer(texts, verbose=False)["input_ids"]
    cut = tokenizer(texts, truncation=True, return_offsets_mapping=True)
    found = []
    for row, every, ids, offsets in zip(rows, whole, cut["input_ids"], cut["offset_mapping"], strict=True):
        tags = tuple(places.get(tag, IGNORED) for tag in row["tags"])
        firsts = first_tokens(row["words"], offsets)
        known = [first for first in firsts if first is not None]
        if len(set(known)) < len(known):
            word = next(
                word for word, first in zip(row["words"], firsts, strict=True) if known.count(first) > 1
            )
            raise StageError(
                f"row {row['id']}: the base's tokenizer has one token for {word!r} and the word behind it, "
                "which cannot have two tags. Name another base, or leave the row out"
            )
        found.append(TaggedText(ids, len(firsts), len(every) - len(ids), tags=tags, firsts=firsts))
    return found


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> tuple[int | None, ...]:
    """For each word of a sentence the token that its first character is in, None where that was cut off.

    `offsets` say of each token where it begins and ends in the words joined with spaces; a special token has
    none, (0, 0).
    """
    found: list[int | None] = []
    begin = token = 0
    for word in words:
        while token < len(offsets) and offsets[token][1] <= begin:
            token += 1
        found.append(token if token < len(offsets) and offsets[token][1] else None)
        begin += len(word) + 1
    return tuple(found)
