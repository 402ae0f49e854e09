"""Labelled texts as a classifier reads them: their tokens, and how a batch is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.config import ClassifyConfig
from tasks.errors import StageError
from tasks.models.loading import load_tokenizer
from tasks.rows import SPLITS, Alike, Row, load_split
from tasks.tokenize.stage import text_ids

UNKNOWN_TO_MOST = "\U0010ffff"  # no character, and in no vocabulary but those of bytes


@dataclass(frozen=True)
class Text:
    """A text's tokens, its label's place among the labels, and how many tokens did not fit."""

    input_ids: list[int]
    label: int
    lost: int


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

    def collate(self, texts: Sequence[Text], more: int = 0) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (texts, longest + more), padded on the right; `labels` (texts,)."""
        longest = max(len(text.input_ids) for text in texts) + more
        ids = torch.full((len(texts), longest), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for place, text in enumerate(texts):
            ids[place, : len(text.input_ids)] = torch.tensor(text.input_ids)
            mask[place, : len(text.input_ids)] = 1
        labels = torch.tensor([text.label for text in texts])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def read_labelled(rows: Path) -> dict[str, list[Row]]:
    """The splits that the rows stage wrote. Raises StageError for a row without a text and a label."""
    found = {split: load_split(rows, split) for split in SPLITS}
    for split, members in found.items():
        for row in members:
            if not isinstance(row.get("text"), str) or not isinstance(row.get("label"), str):
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected a text and its label. "
                    "Read the rows with rows.format=classification"
                )
    return found


def labels_in(rows: dict[str, list[Row]]) -> tuple[str, ...]:
    """All labels of all splits, by name. Raises StageError when the training rows have fewer than two."""
    learned = sorted({str(row["label"]) for row in rows["train"]})
    if len(learned) < 2:
        raise StageError(
            f"a classifier learns to tell labels apart: found {len(rows['train'])} training rows, labelled "
            f"{', '.join(learned) or 'not at all'}; expected at least two labels. Fix the rows"
        )
    return tuple(sorted({str(row["label"]) for members in rows.values() for row in members}))


def labelled_texts(
    config: ClassifyConfig,
    tokenizer: PreTrainedTokenizerBase,
    rows: dict[str, list[Row]],
    context: float,
    groups: Alike | None = None,
) -> Labelled:
    """The rows that `read_labelled` gave, in tokens of `classifying_tokenizer`, which is told what is cut.

    `context` is the model's longest sequence, or infinite; `groups` is what `load_groups` gave. Raises
    StageError for a text without a token, and for training rows of one label alone.
    """
    labels = labels_in(rows)
    tokenizer.model_max_length = int(min(config.max_length, context))
    return Labelled(
        labels=labels,
        rows=rows,
        texts={split: _as_texts(tokenizer, labels, members, split) for split, members in rows.items()},
        tokenizer=tokenizer,
        batch_size=config.batch_size,
        max_length=tokenizer.model_max_length,
        groups=groups,
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


def _as_texts(
    tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], members: Sequence[Row], split: str
) -> list[Text]:
    if not members:
        return []
    texts = [str(row["text"]) for row in members]
    whole = tokenizer(texts, verbose=False)["input_ids"]
    cut = tokenizer(texts, truncation=True)["input_ids"]
    for row, own in zip(members, text_ids(tokenizer, texts), strict=True):
        if not own or not str(row["text"]).strip():
            raise StageError(
                f"{split} row {row['id']} has no text to classify: found {row['text']!r}. Leave it out"
            )
    return [
        Text(ids, labels.index(str(row["label"])), len(every) - len(ids))
        for row, ids, every in zip(members, cut, whole, strict=True)
    ]
