"""Multiple choice as a model reads it: each choice with its prompt, and which rows they are of."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.choosing import sequences_of
from tasks.batches.labelled import Labelled
from tasks.errors import StageError
from tasks.models.classifier import classifier_output
from tasks.rows import Row

OUTPUTS = ("score",)
"""What the head gives of each choice."""
IGNORED = -100  # the label of each choice of a row but the first


@dataclass(frozen=True)
class Chosen:
    """A row's choices in tokens, each with its prompt, and the place of the right one."""

    choices: list[list[int]]
    token_types: list[list[int]]
    answer: int
    lost: int

    @property
    def input_ids(self) -> list[int]:
        """Of the longest."""
        return max(self.choices, key=len)


@dataclass(frozen=True)
class Choices(Labelled):
    """The rows of all splits, and the choices of each."""

    texts: dict[str, list[Chosen]]

    def collate(self, texts: Sequence[Chosen], more: int = 0) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (choices, longest + more), padded right; `labels` (choices,).

        The choices of all rows one below the other, as many as each row has. The label of the first choice of
        a row is the place of the right one among them, that of the others is ignored.
        """
        every = [ids for text in texts for ids in text.choices]
        types = [kinds for text in texts for kinds in text.token_types]
        ids = torch.full((len(every), max(map(len, every)) + more), self.tokenizer.pad_token_id)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for place, (own, kind) in enumerate(zip(every, types, strict=True)):
            ids[place, : len(own)] = torch.tensor(own)
            mask[place, : len(own)] = 1
            kinds[place, : len(kind)] = torch.tensor(kind)
        batch = {"input_ids": ids, "attention_mask": mask}
        if any(types):
            batch["token_type_ids"] = kinds
        labels = [[text.answer, *[IGNORED] * (len(text.choices) - 1)] for text in texts]
        return batch | {"labels": torch.tensor([label for own in labels for label in own])}


def asked_of(row: Row) -> str:
    """What a row's choices answer: its context, if it has one, and its prompt, a line each."""
    return "\n".join(filter(None, (row.get("context"), row["prompt"])))


def chosen_in(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], split: str) -> list[Chosen]:
    """The rows in tokens of the tokenizer, cut at its longest.

    Raises StageError for a row with a choice that leaves no room for its prompt.
    """
    found = []
    for row in rows:
        try:
            sequences = sequences_of(tokenizer, asked_of(row), row["choices"])
        except ValueError as error:
            raise StageError(
                f"{split} row {row['id']}: {error}. Raise classify.max_length, or leave the row out"
            ) from error
        found.append(Chosen(sequences.input_ids, sequences.token_types, row["answer"], sequences.lost))
    return found


def choice_loss(scores: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy in nats over the choices of each row, the mean over the rows of the whole step.

    `scores` and `labels` (choices,) as `Choices.collate` has them; of the labels one counts for each row.
    """
    starts = (labels != IGNORED).nonzero().flatten()
    sizes = torch.diff(starts, append=starts.new_tensor([len(labels)])).tolist()
    rows = scores.float().split(sizes)
    right = labels[starts].tolist()
    total = -sum(own.log_softmax(0)[place] for own, place in zip(rows, right, strict=True))
    return total / (len(rows) if num_items_in_batch is None else num_items_in_batch)


@torch.no_grad()
def choice_scores(
    model: PreTrainedModel,
    data: Choices,
    texts: Sequence[Chosen],
    heeding: Callable[[Iterable[int]], Iterable[int]] = iter,
    together: Callable[[Tensor], Tensor] = Tensor.clone,
) -> list[Tensor]:
    """The scores (choices,) of each of at least one row, on the CPU, without dropout.

    The batches are passed through `heeding`, which may raise, or leave some to other processes; `together`
    adds up what all have found.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place].input_ids))
    sizes = [len(text.choices) for text in texts]
    found = torch.zeros(len(texts), max(sizes))
    for start in heeding(range(0, len(order), data.batch_size)):
        places = order[start : start + data.batch_size]
        scores = scores_of(model, data.collate([texts[place] for place in places])).float().cpu()
        for place, own in zip(places, scores.split([sizes[place] for place in places]), strict=True):
            found[place, : len(own)] = own
    model.train(was_training)
    return [own[:size] for own, size in zip(together(found), sizes, strict=True)]


def scores_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """(choices,) of a batch as `Choices.collate` makes it."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
    return classifier_output(model, inputs).logits[:, 0]
