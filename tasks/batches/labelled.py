"""Labelled texts as a classifier reads them: their tokens, and how a batch is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.errors import StageError
from tasks.models.loading import load_tokenizer
from tasks.rows import Alike, Row
from tasks.rows.labelled_texts import parts
from tasks.tokenize.stage import text_ids

UNKNOWN_TO_MOST = "\U0010ffff"  # no character, and in no vocabulary but those of bytes


@dataclass(frozen=True)
class Text:
    """A text's tokens, its label's place among the labels, and how many tokens did not fit.

    Two texts that are labelled together are one sequence; `token_types` says which of them each token is of,
    where the tokenizer tells the model that.
    """

    input_ids: list[int]
    label: int
    lost: int
    token_types: Sequence[int] = ()


@dataclass(frozen=True)
class Labelled:
    """The rows of all splits, and the texts of those in the same order; a split may have none."""

    labels: tuple[str, ...]
    rows: dict[str, list[Row]]
    texts: dict[str, list[Text]]
    tokenizer: PreTrainedTokenizerBase
    batch_size: int
    max_length: int
    groups: Alike | None = None
    """The ids of rows that are known to ask nearly the same; None where that is not known."""

    @property
    def every_text(self) -> list[Text]:
        return [text for texts in self.texts.values() for text in texts]

    def texts_by_row(self, split: str) -> list[list[Text]]:
        """For each row of the split what is read of it."""
        return [[text] for text in self.texts[split]]

    def collate(self, texts: Sequence[Text], more: int = 0) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (texts, longest + more), padded on the right; `labels` (texts,).

        With `token_type_ids` where the texts have them, which pairs have.
        """
        longest = max(len(text.input_ids) for text in texts) + more
        ids = torch.full((len(texts), longest), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for place, text in enumerate(texts):
            ids[place, : len(text.input_ids)] = torch.tensor(text.input_ids)
            mask[place, : len(text.input_ids)] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if any(text.token_types for text in texts):
            batch["token_type_ids"] = torch.zeros_like(ids)
            for place, text in enumerate(texts):
                batch["token_type_ids"][place, : len(text.input_ids)] = torch.tensor(text.token_types)
        return batch | {"labels": self.targets(texts, longest)}

    def targets(self, texts: Sequence[Text], longest: int) -> Tensor:
        """What the loss compares with, for a batch of texts that are padded to `longest`: labels (texts,)."""
        del longest
        return torch.tensor([text.label for text in texts])


def require_like(rows: Mapping[str, Sequence[Row]]) -> None:
    """Raise StageError for single texts among pairs, in whichever split."""
    every = [(split, row) for split, members in rows.items() for row in members]
    pairs = sum("text_pair" in row for _, row in every)
    if 0 < pairs < len(every):
        split, single = next((split, row) for split, row in every if "text_pair" not in row)
        raise StageError(
            f"{pairs:,} of {len(every):,} rows are pairs of texts, and {split} row {single.get('id')} is a "
            "single one; expected one kind. Give every row a text_pair, or none"
        )


def require_words(split: str, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise StageError for a row one of whose texts has no token."""
    for part in parts(rows[0]) if rows else ():
        texts = [row[part] for row in rows]
        for row, text, own in zip(rows, texts, text_ids(tokenizer, texts), strict=True):
            if not own or not text.strip():
                raise StageError(
                    f"{split} row {row['id']} has no {part} to classify: found {text!r}. Leave it out"
                )


def classifying_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, set so that whoever loads it again gives a text the tokens it has here.

    What looks like a special token in a text is text, padding is on the right (absolute positions count from
    the first token), and long texts lose their end when truncation is asked for.

    Padding is a token that no text holds: Transformers reads a classifier's logits at the last token that is
    not padding, so a text that ended with the padding token would be read before its end.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True  # what is saved
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.pad_token = _safe_padding(tokenizer)
    return tokenizer


def _safe_padding(tokenizer: PreTrainedTokenizerBase) -> str:
    for token in filter(None, (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token)):
        number = tokenizer.convert_tokens_to_ids(token)
        if all(number not in ids for ids in text_ids(tokenizer, [token, UNKNOWN_TO_MOST])):
            return token
    raise StageError(
        f"the tokenizer has no token that a text cannot hold: its padding is {tokenizer.pad_token!r}, its "
        f"end {tokenizer.eos_token!r}. A padded text's end could not be told; give the tokenizer a special "
        "padding token"
    )


def tokenized(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], labels: Sequence[int]) -> list[Text]:
    """The rows' texts, or pairs of these, in tokens of `classifying_tokenizer`, cut at its longest.

    Raises StageError for pairs that the tokenizer would join without anything between them.
    """
    texts, given = [str(row["text"]) for row in rows], {}
    if "text_pair" in rows[0]:
        special = [tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True)]
        if special[1] <= special[0]:
            raise StageError(
                "the rows are pairs of texts, and the base's tokenizer puts no token between the two, so "
                "that the model could not tell them apart. Name an encoder as base.model, or join the texts"
            )
        given = {"text_pair": [str(row["text_pair"]) for row in rows]}
    whole = tokenizer(texts, **given, verbose=False)["input_ids"]
    cut = tokenizer(texts, **given, truncation=True)
    types = cut["token_type_ids"] if given and "token_type_ids" in cut else [()] * len(texts)
    return [
        Text(ids, label, len(every) - len(ids), kinds)
        for ids, label, every, kinds in zip(cut["input_ids"], labels, whole, types, strict=True)
    ]
