"""Questions as a model reads them: windows over their contexts, and where in each the answer is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.answering import Window, windows_of
from tasks.batches.labelled import Labelled
from tasks.errors import StageError
from tasks.models.classifier import classifier_output
from tasks.rows import Row

OUTPUTS = ("start", "end")
"""What the head gives of each token: a logit that the answer starts there, and one that it ends there."""
LABELS = (
    3  # of a window: the place of the answer's first token, that of its last, and how many tokens there are
)


@dataclass(frozen=True)
class Asked:
    """A window of a question, by the place of its row in the split, and the answer's first and last token.

    Where the answer does not stand whole in the window both are the token that stands for no answer.
    """

    window: Window
    row: int
    start: int
    end: int
    lost: int = 0
    """Nothing of a context is cut off: what does not fit is in another window."""

    @property
    def input_ids(self) -> list[int]:
        return self.window.input_ids

    @property
    def holds_answer(self) -> bool:
        return self.start != self.window.none


@dataclass(frozen=True)
class Questions(Labelled):
    """The rows of all splits, and the windows of each; `texts` are windows, in the order of their rows."""

    texts: dict[str, list[Asked]]

    def collate(self, texts: Sequence[Asked], more: int = 0) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (windows, longest + more), padded right; `labels` (windows, 3).

        Those are the answer's first and last token and the window's length, behind which no answer can be.
        """
        longest = max(len(each.input_ids) for each in texts) + more
        ids = torch.full((len(texts), longest), self.tokenizer.pad_token_id)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for place, each in enumerate(texts):
            ids[place, : len(each.input_ids)] = torch.tensor(each.input_ids)
            mask[place, : len(each.input_ids)] = 1
            types[place, : len(each.window.token_types)] = torch.tensor(each.window.token_types)
        batch = {"input_ids": ids, "attention_mask": mask}
        if any(each.window.token_types for each in texts):
            batch["token_type_ids"] = types
        return batch | {"labels": torch.tensor([(e.start, e.end, len(e.input_ids)) for e in texts])}

    def texts_by_row(self, split: str) -> list[list[Asked]]:
        """For each row of the split its windows."""
        return [[self.texts[split][place] for place in places] for places in self.windows_by_row(split)]

    def windows_by_row(self, split: str) -> list[list[int]]:
        """For each row of the split the places of its windows."""
        found: list[list[int]] = [[] for _ in self.rows[split]]
        for place, each in enumerate(self.texts[split]):
            found[each.row].append(place)
        return found


def asked_in(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], split: str) -> list[Asked]:
    """The windows of the rows' questions, of the tokenizer's longest; the first answer of several is learned.

    Raises StageError for a tokenizer that does not say which characters a token is of, and a question that
    leaves no room for its context, with its row.
    """
    if not tokenizer.is_fast:
        raise StageError(
            f"{type(tokenizer).__name__} does not say which characters of a text a token is of; answers are "
            "told by these. Give the base with a fast tokenizer (tokenizer.json)"
        )
    found = []
    for place, row in enumerate(rows):
        try:
            windows = windows_of(tokenizer, row["question"], row["context"], tokenizer.model_max_length)
        except ValueError as error:
            raise StageError(
                f"{split} row {row['id']}: {error}. Raise classify.max_length, or leave the row out"
            ) from error
        found += [Asked(window, place, *answer_in(window, row)) for window in windows]
    return found


def answer_in(window: Window, row: Row) -> tuple[int, int]:
    """The places of the first and the last token that hold the row's first answer; both of none."""
    if not row["answers"]["text"]:
        return window.none, window.none
    begin = row["answers"]["answer_start"][0]
    end = begin + len(row["answers"]["text"][0].rstrip())
    begin += len(row["answers"]["text"][0]) - len(row["answers"]["text"][0].lstrip())
    held = [
        place
        for place, offset in enumerate(window.offsets)
        if offset is not None and offset[0] < end and offset[1] > begin
    ]
    if not held or window.offsets[held[0]][0] > begin or window.offsets[held[-1]][1] < end:
        return window.none, window.none
    return held[0], held[-1]


def span_loss(
    starts: Tensor, ends: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy in nats over the places of a window, the mean over first and last tokens of the step.

    `starts` and `ends` are logits (windows, time), `labels` as `Questions.collate` gives them. Padding is no
    place. `num_items_in_batch` counts labels, of which a window has three.
    """
    places = torch.arange(starts.shape[1], device=starts.device)
    padding = places[None, :] >= labels[:, 2:]
    total = sum(
        F.cross_entropy(logits.float().masked_fill(padding, -torch.inf), labels[:, part], reduction="sum")
        for part, logits in enumerate((starts, ends))
    )
    windows = len(labels) if num_items_in_batch is None else num_items_in_batch / LABELS
    return total / (2 * windows)


@dataclass(frozen=True)
class SpanLogits:
    """`logits` (windows, longest, 2) on the CPU, in the order of the windows."""

    logits: Tensor
    labels: Tensor

    @property
    def loss(self) -> float:
        return span_loss(*self.logits.double().unbind(-1), self.labels).item()

    def of(self, place: int) -> tuple[Tensor, Tensor]:
        """The logits (tokens,) of first and last tokens of one window, without its padding."""
        start, end = self.logits[place, : int(self.labels[place, 2])].unbind(-1)
        return start, end


@torch.no_grad()
def span_logits(
    model: PreTrainedModel,
    data: Questions,
    windows: Sequence[Asked],
    heeding: Callable[[Iterable[int]], Iterable[int]] = iter,
    together: Callable[[Tensor], Tensor] = Tensor.clone,
) -> SpanLogits:
    """The logits of at least one window, without dropout; windows of about one length go together.

    The batches are passed through `heeding`, which may raise, or leave some to other processes; `together`
    adds up what all have found.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(windows)), key=lambda place: len(windows[place].input_ids))
    logits = torch.zeros(len(windows), max(len(each.input_ids) for each in windows), 2)
    for start in heeding(range(0, len(order), data.batch_size)):
        places = order[start : start + data.batch_size]
        found = logits_of(model, data.collate([windows[place] for place in places]))
        logits[places, : found.shape[1]] = found.float().cpu()
    model.train(was_training)
    labels = torch.tensor([(each.start, each.end, len(each.input_ids)) for each in windows])
    return SpanLogits(together(logits), labels)


def logits_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """(windows, time, 2) of a batch as `Questions.collate` makes it."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
    output = classifier_output(model, inputs)
    return torch.stack([output.start_logits, output.end_logits], dim=-1)
