"""What an encoder-decoder learns from: a source that the encoder reads, a target that the decoder writes.

    source   S S S S </s> .            what the template makes of the prompt, as the tokenizer ends a text
    decoder  <s> T T T </s>            the labels moved by one, after the model's own first token
    labels       T T T </s>            the target and its end: nothing of the source is learned

Both begin and end as the tokenizer begins and ends a text: T5's with its end token alone, BART's with `<s>`
before it as well. Padding, on the right, is masked in the source and IGNORED in the labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.batches.tuning import BATCHES, TRAINED_ON, load_rows
from tasks.config import FinetuneConfig
from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.rows import Alike, Row, load_groups
from tasks.tokenize.templates import Template, begins_texts, load_template

PROBE = "a"


@dataclass(frozen=True)
class SourceTemplate:
    """How a row becomes the tokens of a source, and a text those of a target, for one tokenizer."""

    template: Template

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.template.tokenizer

    def sources_ids(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """The tokens that the encoder reads: the template's prompt, closed as the tokenizer closes a text."""
        return [ids + self._suffix for ids in self.template.prompts_ids(rows)]

    def target_ids(self, text: str) -> list[int]:
        """The tokens that the decoder writes; the last is the end token."""
        begin = [self.tokenizer.bos_token_id] * begins_texts(self.tokenizer)
        return begin + self.template.completion_ids(text, alone=True)

    @cached_property
    def _suffix(self) -> list[int]:
        """What the tokenizer puts behind a text: `</s>` of T5 and BART."""
        whole, bare = (
            self.tokenizer(PROBE, add_special_tokens=special, verbose=False)["input_ids"]
            for special in (True, False)
        )
        start = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
        return whole[start + len(bare) :]


def source_template(name: str, tokenizer: PreTrainedTokenizerBase) -> SourceTemplate:
    """The named template for an encoder-decoder's tokenizer. Raises StageError as `load_template` does."""
    return SourceTemplate(load_template(name, tokenizer))


@dataclass(frozen=True)
class Pair:
    """The tokens of a source and of its target, of which `lost` did not fit."""

    source: list[int]
    target: list[int]
    lost: int

    @property
    def cut(self) -> bool:
        return self.lost > 0


@dataclass(frozen=True)
class CollatedPair:
    """One row of a batch, as the trainer is given it, padding included."""

    name: str
    """Split and id, for people."""
    row: Row
    source: list[int]
    """What the encoder should read, without padding."""
    target: list[int]
    """What the decoder should write."""
    input_ids: list[int]
    mask: list[int]
    labels: list[int]
    cut: bool
    """It lost its end, and with it the end token."""


@dataclass(frozen=True)
class Seq2SeqData:
    """The rows of all splits, and for `train` and `validation`, if they have any, what is made of them.

    `pairs` and `datasets` are in the order of `rows`.
    """

    rows: dict[str, list[Row]]
    pairs: dict[str, list[Pair]]
    datasets: dict[str, Dataset]
    collator: "SourceTargetCollator"
    template: SourceTemplate
    batch_size: int
    max_length: int
    groups: Alike | None = None
    """The ids of rows that are known to ask nearly the same; None where that is not known."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.template.tokenizer

    @property
    def every_pair(self) -> list[Pair]:
        return [pair for pairs in self.pairs.values() for pair in pairs]

    def collated(self) -> Iterator[CollatedPair]:
        """Every row of every dataset as it stands in its batch; what it should be is made anew of the row."""
        for split, dataset in self.datasets.items():
            for first in range(0, len(dataset), self.batch_size * BATCHES):
                places = range(first, min(first + self.batch_size * BATCHES, len(dataset)))
                sources = self.template.sources_ids([self.rows[split][place] for place in places])
                for start in range(0, len(places), self.batch_size):
                    members = places[start : start + self.batch_size]
                    batch = self.collator([dataset[place] for place in members])
                    columns = (batch[name].tolist() for name in ("input_ids", "attention_mask", "labels"))
                    for place, *columns_of in zip(members, *columns, strict=True):
                        yield self._row(split, place, sources[place - first], *columns_of)

    def _row(
        self,
        split: str,
        place: int,
        source: list[int],
        input_ids: list[int],
        mask: list[int],
        labels: list[int],
    ) -> CollatedPair:
        row, cut = self.rows[split][place], self.pairs[split][place].cut
        target = self.template.target_ids(row["output"])[: self.max_length]
        return CollatedPair(f"{split} row {row['id']}", row, source, target, input_ids, mask, labels, cut)


def seq2seq_data(
    config: FinetuneConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> Seq2SeqData:
    """Read the splits that the rows stage wrote; `context` is the model's longest sequence, or infinite.

    Raises StageError for settings that an encoder-decoder has no use for, for a row whose source is longer
    than `max_length`, and for one without a target.
    """
    require_settings(config)
    max_length = int(min(config.max_length, context))
    template = source_template(config.template, tokenizer)
    found = load_rows(rows, "output", "rows with a source and a target, or instruction rows")
    pairs = {split: _pairs(template, found[split], max_length) for split in TRAINED_ON if found[split]}
    return Seq2SeqData(
        rows=found,
        pairs=pairs,
        datasets={
            split: Dataset.from_list([{"input_ids": one.source, "labels": one.target} for one in members])
            for split, members in pairs.items()
        },
        collator=SourceTargetCollator(tokenizer.pad_token_id),
        template=template,
        batch_size=config.batch_size,
        max_length=max_length,
        groups=load_groups(rows),
    )


def require_source(row: int | str, source: Sequence[int], context: float) -> None:
    """Raise StageError for a source that an encoder of this context, in tokens, cannot read."""
    if len(source) > context:
        raise StageError(
            f"row {row} cannot be answered: its source has {len(source)} tokens and the model reads "
            f"{context}. Shorten it, or leave the row out"
        )


def require_settings(config: FinetuneConfig) -> None:
    """Raise StageError for settings that an encoder-decoder has no use for."""
    unused = {
        "finetune.loss=all: the source is read by the encoder, which has nothing to predict": (
            config.loss == "all"
        ),
        "finetune.packing: rows in one sequence would see each other's sources": config.packing,
        "finetune.optimizer=muon: it is tuned here for one stack of blocks, and this model has two": (
            config.optimizer == "muon"
        ),
    }
    for reason, holds in unused.items():
        if holds:
            raise StageError(f"the model is an encoder-decoder. {reason}. Leave this setting out")


def _pairs(template: SourceTemplate, rows: Sequence[Row], max_length: int) -> list[Pair]:
    pairs = []
    for row, source in zip(rows, template.sources_ids(rows), strict=True):
        if len(source) > max_length:
            raise StageError(
                f"row {row['id']} cannot be trained on: its source has {len(source)} tokens, more than the "
                f"{max_length} that max_length and the model's context leave to it. Raise "
                "finetune.max_length, or leave the row out"
            )
        target = template.target_ids(row["output"])
        pairs.append(Pair(source, target[:max_length], max(0, len(target) - max_length)))
    return pairs


@dataclass(frozen=True)
class SourceTargetCollator:
    """Batches of pairs, padded on the right."""

    pad_token_id: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (batch, source time), `labels` (batch, target time)."""
        sources = [example["input_ids"] for example in examples]
        return {
            "input_ids": _padded(sources, self.pad_token_id),
            "attention_mask": _padded([[1] * len(ids) for ids in sources], 0),
            "labels": _padded([example["labels"] for example in examples], IGNORED),
        }


def _padded(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    time = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (time - len(row))] for row in rows])
