"""What fine-tuning learns from: rows as supervised tokens, and how a batch is made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tasks.config import FinetuneConfig
from tasks.finetune.supervised import Example, supervise_all
from tasks.rows import SPLITS, Row, load_split
from tasks.templates import TEMPLATES, Template

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


class Examples(Protocol):
    """A dataset: a mapping with `input_ids` and `labels` at each place."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, list[int]]: ...


@dataclass(frozen=True)
class TuningData:
    """The rows of all splits, and for `train` and `validation`, if they have any, what is made of them.

    `examples` and `datasets` are in the order of `rows`.
    """

    rows: dict[str, list[Row]]
    examples: dict[str, list[Example]]
    datasets: dict[str, Examples]
    collator: Collator
    tokenizer: PreTrainedTokenizerBase
    template: Template
    batch_size: int
    max_length: int


def tuning_data(
    config: FinetuneConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> TuningData:
    """Read the splits that the rows stage wrote; `context` is the model's longest sequence, or infinite.

    Raises StageError for a row whose prompt leaves no room for its completion.
    """
    max_length = int(min(config.max_length, context))
    template = TEMPLATES[config.template]
    found = {split: load_split(rows, split) for split in SPLITS}
    examples = {
        split: supervise_all(tokenizer, template, found[split], max_length)
        for split in ("train", "validation")
        if found[split]
    }
    return TuningData(
        rows=found,
        examples=examples,
        datasets={split: _as_dataset(members) for split, members in examples.items()},
        collator=DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id),
        tokenizer=tokenizer,
        template=template,
        batch_size=config.batch_size,
        max_length=max_length,
    )


def _as_dataset(examples: list[Example]) -> Dataset:
    return Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples])
