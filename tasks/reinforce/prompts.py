"""The prompts that are answered for a reward, and how they are drawn from: in whole groups, as tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from tasks.batches.tuning import TRAINED_ON, load_rows
from tasks.config import GrpoConfig
from tasks.errors import StageError
from tasks.rows import Row
from tasks.tokenize.templates import Template, load_template, require_room


@dataclass(frozen=True)
class PromptData:
    """Rows of the train and validation splits, and the tokens of their prompts, in one order."""

    rows: dict[str, list[Row]]
    ids: dict[str, list[list[int]]]
    template: Template
    max_length: int

    def dataset(self, split: str) -> Dataset:
        """What TRL is given: the place of each row for its prompt, which is a list of tokens already."""
        return Dataset.from_dict({"prompt": [str(place) for place in range(len(self.rows[split]))]})


def prompt_data(
    config: GrpoConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> PromptData:
    """Read the splits that the rows stage wrote; `context` is the model's longest sequence, or infinite.

    Validation prompts are the first `config.validation_prompts`. Raises StageError for a prompt that leaves
    no room for a response.
    """
    max_length = int(min(config.max_length, context))
    template = load_template(config.template, tokenizer)
    found = load_rows(rows, "output", "instruction rows")
    bounds = {"train": None, "validation": config.validation_prompts}
    own = {split: found[split][: bounds[split]] for split in TRAINED_ON}
    ids = {split: template.prompts_ids(members) for split, members in own.items()}
    for split, members in own.items():
        for row, prompt in zip(members, ids[split], strict=True):
            require_room(row["id"], prompt, context)
            if len(prompt) >= max_length:
                raise StageError(
                    f"row {row['id']} cannot be answered: its prompt has {len(prompt)} tokens and max_length "
                    f"is {max_length}. Raise it, or leave the row out"
                )
    return PromptData(own, ids, template, max_length)


class GroupSampler(Sampler[int]):
    """Places of prompts as TRL reads them: each `group` times in a row, a step's once for each micro-batch.

    The order is that of the epoch, and not of how many were drawn before: a training that resumes in the
    second epoch would else begin with the order of the first.
    """

    def __init__(self, prompts: int, group: int, prompts_a_step: int, repeats: int, seed: int) -> None:
        self.prompts, self.group, self.step, self.repeats = prompts, group, prompts_a_step, repeats
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.prompts, generator=generator).tolist()
        for start in range(0, self.steps * self.step, self.step):
            for _ in range(self.repeats):
                for place in order[start : start + self.step]:
                    yield from [place] * self.group

    @property
    def steps(self) -> int:
        """Of an epoch; the prompts that are left over are read in others."""
        return self.prompts // self.step

    def __len__(self) -> int:
        return self.steps * self.step * self.repeats * self.group
