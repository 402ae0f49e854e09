"""What fine-tuning learns from: rows as supervised tokens, and how a batch is made of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl import pack_dataset
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tasks.batches.supervised import Example, Turns, supervise
from tasks.config import DpoConfig, FinetuneConfig
from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.models.causal import positions_within
from tasks.rows import MIXED_FROM, SPLITS, Alike, Row, load_groups, load_split
from tasks.tokenize.replies import earlier_replies
from tasks.tokenize.templates import Template, load_template

TRAINED_ON = ("train", "validation")
PLACE = "places"  # a packed sequence's column: which of the split's rows each token is of
PADDING = -1
BATCHES = 64  # whose prompts are made into tokens at once

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
Loss = Literal["completion", "all"]


class Examples(Protocol):
    """A dataset: a mapping of lists of token ids at each place."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, list[int]]: ...


@dataclass(frozen=True)
class Collated:
    """One row of a batch, as the trainer is given it: its tokens and labels, padding included."""

    name: str
    """Split and id, for people."""
    prompt: list[int]
    """What it should begin with."""
    replies: list[tuple[int, int]]
    """Where in the prompt stands what is to be learned: what the assistant said earlier."""
    given: list[int]
    """The row's own tokens, without padding."""
    input_ids: list[int]
    labels: list[int]
    mask: list[int]
    end_token: int
    loss: Loss
    cut: bool
    """Its last reply lost its end, and with it the end token."""

    @property
    def padded(self) -> int:
        return len(self.mask) - sum(self.mask)


@dataclass(frozen=True)
class TuningData:
    """The rows of all splits, and for `train` and `validation`, if they have any, what is made of them.

    `examples` are in the order of `rows`; so are `datasets`, unless they are packed.
    """

    rows: dict[str, list[Row]]
    examples: dict[str, list[Example]]
    datasets: dict[str, Examples]
    collator: Collator
    tokenizer: PreTrainedTokenizerBase
    template: Template
    batch_size: int
    max_length: int
    loss: Loss = "completion"
    turns: Turns = "last"
    groups: Alike | None = None
    """The ids of rows that are known to ask nearly the same; None where that is not known."""
    by_source: dict[str, Examples] = field(default_factory=dict)
    """The dataset of validation in parts, by the sources that were mixed; rows of none under an empty name.
    Empty where no sources were."""

    @property
    def every_example(self) -> list[Example]:
        return [example for examples in self.examples.values() for example in examples]

    def collated(self) -> Iterator[Collated]:
        """Every row of every dataset as it stands in its batch."""
        for split, dataset in self.datasets.items():
            prompts: dict[int, list[int]] = {}
            for start in range(0, len(dataset), self.batch_size):
                if start % (self.batch_size * BATCHES) == 0:
                    stop = start + self.batch_size * BATCHES
                    ahead = [dataset[place] for place in range(start, min(stop, len(dataset)))]
                    prompts = self._prompts(split, start, ahead)
                places = range(start, min(start + self.batch_size, len(dataset)))
                examples, ahead = ahead[: len(places)], ahead[len(places) :]
                yield from self._rows_of(split, places, examples, self.collator(examples), prompts)

    def _rows_of(
        self,
        split: str,
        places: range,
        examples: list[dict[str, Any]],
        batch: dict[str, Tensor],
        prompts: dict[int, list[int]],
    ) -> Iterator[Collated]:
        """The rows of one batch; a packed sequence holds several. `prompts` are by the row's place."""
        ids, labels = batch["input_ids"].tolist(), batch["labels"].tolist()
        if PLACE not in batch:
            masks = batch["attention_mask"].tolist()
            for place, example, *columns in zip(places, examples, ids, labels, masks, strict=True):
                cut = not self.examples[split][place].ends
                yield self._row(split, place, "", cut, prompts[place], example["input_ids"], *columns)
            return
        for example, tokens, targets, of in zip(examples, ids, labels, batch[PLACE].tolist(), strict=True):
            for place in dict.fromkeys(example[PLACE]):
                here = [index for index, owner in enumerate(of) if owner == place]
                given = [
                    token
                    for token, owner in zip(example["input_ids"], example[PLACE], strict=True)
                    if owner == place
                ]
                columns = [tokens[i] for i in here], [targets[i] for i in here], [1] * len(here)
                cut = not self.examples[split][place].ends
                yield self._row(split, place, "", cut, prompts[place], given, *columns)

    def _prompts(self, split: str, start: int, examples: list[dict[str, Any]]) -> dict[int, list[int]]:
        """The prompts of the rows of examples that stand at `start` and behind, by the rows' places."""
        places = sorted({of for at, each in enumerate(examples, start) for of in each.get(PLACE, [at])})
        found = self.template.prompts_ids([self.rows[split][place] for place in places])
        return dict(zip(places, found, strict=True))

    def _row(
        self,
        split: str,
        place: int,
        what: str,
        cut: bool,
        prompt: list[int],
        given: list[int],
        input_ids: list[int],
        labels: list[int],
        mask: list[int],
    ) -> Collated:
        row = self.rows[split][place]
        name = f"{split} row {row['id']}{what}"
        earlier = earlier_replies(self.template, row) if self.turns == "all" else []
        replies = [(each.start, each.stop) for each in earlier if not each.unlearned]
        whole = len(given) > len(prompt)
        end = self.tokenizer.eos_token_id if whole else self.template.ids_of(self.template.turn_end)[-1]
        return Collated(name, prompt, replies, given, input_ids, labels, mask, end, self.loss, cut)


def sft_data(
    config: FinetuneConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> TuningData:
    """Read the splits that the rows stage wrote; `context` is the model's longest sequence, or infinite.

    Raises StageError for a row whose prompt leaves no room for its completion, and for one that is no
    completion.
    """
    max_length = int(min(config.max_length, context))
    template = load_template(config.template, tokenizer)
    found = load_rows(rows, "output", "instruction rows")
    examples = {
        split: [supervise(template, row, max_length, config.loss, turns=config.turns) for row in found[split]]
        for split in TRAINED_ON
        if found[split]
    }
    collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    dataset = partial(_packed, length=max_length) if config.packing else _as_dataset
    return TuningData(
        rows=found,
        examples=examples,
        datasets={split: dataset(members) for split, members in examples.items()},
        by_source={
            name: dataset(members)
            for name, members in _by_source(found["validation"], examples.get("validation", [])).items()
        },
        collator=PackedCollator(tokenizer.pad_token_id) if config.packing else collate,
        tokenizer=tokenizer,
        template=template,
        batch_size=config.batch_size,
        max_length=max_length,
        loss=config.loss,
        turns=config.turns,
        groups=load_groups(rows),
    )


def load_rows(folder: Path, field: str, wanted: str) -> dict[str, list[Row]]:
    found = {split: load_split(folder, split) for split in SPLITS}
    for split, members in found.items():
        for row in members:
            if field not in row:
                raise StageError(
                    f"{split} row {row['id']} has no {field!r}; its fields are {', '.join(row)}. "
                    f"This training needs {wanted}"
                )
    return found


def _by_source(rows: Sequence[Row], examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples of rows by the sources that these were mixed from; none where they name none."""
    found: dict[str, list[Example]] = {}
    for row, example in zip(rows, examples, strict=True):
        found.setdefault(row.get(MIXED_FROM, ""), []).append(example)
    return found if found.keys() - {""} else {}


def _as_dataset(examples: list[Example]) -> Dataset:
    return Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples])


def _packed(examples: list[Example], length: int) -> Dataset:
    """Sequences of at most `length` tokens, filled with whole rows by best fit (Ding et al. 2024)."""
    columns = [
        {"input_ids": example.input_ids, "labels": example.labels, PLACE: [place] * len(example.input_ids)}
        for place, example in enumerate(examples)
    ]
    packed = pack_dataset(Dataset.from_list(columns), length, "bfd")
    return packed.select_columns(["input_ids", "labels", PLACE])


@dataclass(frozen=True)
class PackedCollator:
    """Batches of packed sequences in which each row has positions from 0.

    Without a mask, Transformers takes such positions for rows of their own that do not see each other; the
    preflight checks that it does.
    """

    pad_token_id: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `labels`, `places` and `position_ids`, all (batch, time)."""
        time = max(len(example["input_ids"]) for example in examples)
        columns = {"input_ids": self.pad_token_id, "labels": IGNORED, PLACE: PADDING}
        batch = {
            name: torch.tensor([e[name] + [padding] * (time - len(e[name])) for e in examples])
            for name, padding in columns.items()
        }
        return batch | {"position_ids": positions_within(batch[PLACE])}


# Preferences


@dataclass(frozen=True)
class PreferenceData(TuningData):
    """Rows of which each is two sequences of a batch: prompt and chosen, prompt and rejected.

    The examples of a row follow each other, the chosen one first.
    """

    def _rows_of(
        self,
        split: str,
        places: range,
        examples: list[dict[str, Any]],
        batch: dict[str, Tensor],
        prompts: dict[int, list[int]],
    ) -> Iterator[Collated]:
        ids, masks = batch["input_ids"].tolist(), batch["attention_mask"].tolist()
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED).tolist()
        for half, name in enumerate(("chosen", "rejected")):
            for number, (place, example) in enumerate(zip(places, examples, strict=True)):
                given = example["prompt_ids"] + example[f"{name}_ids"]
                at = half * len(examples) + number
                cut = not self.examples[split][2 * place + half].ends
                columns = ids[at], labels[at], masks[at]
                yield self._row(split, place, f", {name}", cut, prompts[place], given, *columns)


def preference_data(
    config: DpoConfig, tokenizer: PreTrainedTokenizerBase, rows: Path, context: float
) -> PreferenceData:
    """As `sft_data`, of rows with a chosen and a rejected completion."""
    max_length = int(min(config.max_length, context))
    template = load_template(config.template, tokenizer)
    found = load_rows(rows, "rejected", "preference rows, with chosen and rejected")
    examples: dict[str, list[Example]] = {}
    datasets: dict[str, Examples] = {}
    for split in TRAINED_ON:
        if not found[split]:
            continue
        pairs = [
            {name: supervise(template, row, max_length, completion=name) for name in ("chosen", "rejected")}
            for row in found[split]
        ]
        examples[split] = [example for pair in pairs for example in pair.values()]
        datasets[split] = Dataset.from_list(
            [_pair(template.prompt_ids(row), pair) for row, pair in zip(found[split], pairs, strict=True)]
        )
    return PreferenceData(
        rows=found,
        examples=examples,
        datasets=datasets,
        collator=DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id),
        tokenizer=tokenizer,
        template=template,
        batch_size=config.batch_size,
        max_length=max_length,
        groups=load_groups(rows),
    )


def _pair(prompt: list[int], pair: dict[str, Example]) -> dict[str, list[int]]:
    return {
        "prompt_ids": prompt,
        **{f"{name}_ids": example.input_ids[len(prompt) :] for name, example in pair.items()},
    }
