"""How well a classifier does on a split, and whether it does better than another way to classify."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import confusion_matrix, f1_score
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from tasks.batches.labelled import Labelled, Text
from tasks.models.classifier import classifier_output
from tasks.statistics.bounded import mean_interval
from tasks.statistics.intervals import Sources


@dataclass(frozen=True)
class Predictions:
    """`logits` (texts, labels) on the CPU, `truth` (texts,), in the order of the texts."""

    logits: Tensor
    truth: Tensor

    @property
    def loss(self) -> float:
        """Mean cross-entropy over the texts, in nats."""
        return F.cross_entropy(self.logits.double(), self.truth).item()

    @property
    def predicted(self) -> list[int]:
        return self.logits.argmax(dim=1).tolist()

    @property
    def probabilities(self) -> list[float]:
        """Of the predicted labels."""
        return self.logits.double().softmax(dim=1).amax(dim=1).tolist()

    @property
    def accuracy(self) -> float:
        return (self.logits.argmax(dim=1) == self.truth).double().mean().item()


def predict(
    model: PreTrainedModel,
    data: Labelled,
    texts: Sequence[Text],
    heeding: Callable[[Iterable[int]], Iterable[int]] = iter,
    together: Callable[[Tensor], Tensor] = Tensor.clone,
) -> Predictions:
    """Classify at least one text, without dropout; texts of about one length go together.

    The batches are passed through `heeding`, which may raise, or leave some to other processes; `together`
    adds up the logits (texts, labels) of all.
    """
    logits = together(predicted_logits(model, data, texts, heeding))
    return Predictions(logits, torch.tensor([text.label for text in texts]))


@torch.no_grad()
def predicted_logits(
    model: PreTrainedModel,
    data: Labelled,
    texts: Sequence[Text],
    heeding: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Tensor:
    """(texts, labels), as `predict` has them; zero of texts whose batches `heeding` leaves to others."""
    was_training = model.training
    model.eval()
    logits = torch.zeros(len(texts), len(data.labels))
    for places in batches_by_length(texts, data.batch_size, heeding):
        logits[places] = logits_of(model, data.collate([texts[place] for place in places])).float().cpu()
    model.train(was_training)
    return logits


def batches_by_length(
    texts: Sequence[Text], batch_size: int, heeding: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Iterator[list[int]]:
    """Places of texts of about one length, a batch each."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place].input_ids))
    for start in heeding(range(0, len(order), batch_size)):
        yield order[start : start + batch_size]


def logits_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """(texts, labels) of a batch as `Labelled.collate` makes it."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
    return classifier_output(model, inputs).logits


def measured(
    truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str], sources: Sources = ()
) -> dict[str, Any]:
    """Accuracy with its 95% interval, F1 of each label and their mean, and the confusion matrix.

    The interval is Wilson's, as of every accuracy; of texts that share sources that of `mean_interval`.

    All are fractions; the matrix counts rows, a line for each true label and a column for each predicted one.
    A label that is neither there nor predicted has an F1 of 0.
    """
    places = range(len(labels))
    right = [float(one == other) for one, other in zip(truth, predicted, strict=True)]
    mean, low, high = mean_interval(right, 0.0, 1.0, sources)
    f1 = f1_score(truth, predicted, labels=places, average=None, zero_division=0).tolist()
    return {
        "rows": len(truth),
        "accuracy": {"mean": mean, "low": low, "high": high},
        "f1": dict(zip(labels, f1, strict=True)),
        "macro_f1": sum(f1) / len(f1),
        "confusion": confusion_matrix(truth, predicted, labels=places).tolist(),
    }
