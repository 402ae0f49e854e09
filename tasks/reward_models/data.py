"""The pairs that a reward model learns from: a prompt with the chosen, and with the rejected response."""

from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.trainer.reward_trainer import DataCollatorForPreference

from tasks.batches.supervised import Example, supervise
from tasks.batches.tuning import load_rows
from tasks.config import RewardModelConfig
from tasks.rows import Alike, Row, load_groups
from tasks.tokenize.templates import Template, load_template

SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Pair:
    """The two sequences of a row, each the prompt and a response."""

    chosen: Example
    rejected: Example


@dataclass(frozen=True)
class PairData:
    """The rows of all splits, and their pairs in the same order."""

    rows: dict[str, list[Row]]
    pairs: dict[str, list[Pair]]
    tokenizer: PreTrainedTokenizerBase
    template: Template
    max_length: int
    batch_size: int
    groups: Alike | None = None
    """The ids of rows that are known to ask nearly the same; None where that is not known."""

    @property
    def every_example(self) -> list[Example]:
        """Of the train and validation splits."""
        pairs = [*self.pairs["train"], *self.pairs["validation"]]
        return [example for pair in pairs for example in (pair.chosen, pair.rejected)]

    @property
    def collator(self) -> DataCollatorForPreference:
        """Batches of (2 pairs, time): all chosen, then all rejected, padded on the right."""
        return DataCollatorForPreference(pad_token_id=self.tokenizer.pad_token_id)

    def dataset(self, split: str) -> Dataset:
        """What TRL is given: the tokens of both sequences."""
        return Dataset.from_list([columns_of(pair) for pair in self.pairs[split]])


def columns_of(pair: Pair) -> dict[str, list[int]]:
    return {"chosen_ids": pair.chosen.input_ids, "rejected_ids": pair.rejected.input_ids}


def pair_data(
    config: RewardModelConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> PairData:
    """Read the splits that the rows stage wrote; `context` is the model's longest sequence, or infinite.

    Raises StageError for rows without a preference, and for a prompt that leaves no room for a response.
    """
    max_length = int(min(config.max_length, context))
    template = load_template(config.template, tokenizer)
    found = load_rows(rows, "rejected", "preference rows, with chosen and rejected")
    pairs = {
        split: [
            Pair(*(supervise(template, row, max_length, completion=side) for side in SIDES))
            for row in members
        ]
        for split, members in found.items()
    }
    return PairData(found, pairs, tokenizer, template, max_length, config.batch_size, load_groups(rows))
