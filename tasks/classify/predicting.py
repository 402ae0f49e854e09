"""A trained classifier on rows that it was not trained on: its labels of other test rows, and row by row.

The first is how a champion is measured where the rows have changed, the second is asked for by a sweep.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tasks.batches.labelled import Labelled
from tasks.classify.findings import predictions_of, scores_of, write_scores
from tasks.classify.outputs import write_predictions
from tasks.classify.task import ClassifyTask
from tasks.classify.tasks import task_of
from tasks.config import PredictConfig
from tasks.data.token_files import IGNORED
from tasks.machine.device import pick_device
from tasks.models.classifier import classifier_output
from tasks.models.loading import load_tokenizer
from tasks.models.summary import ModelSummary
from tasks.record.stage import StageRun

Part = tuple[float, float]
"""What a row adds to a mean, and how much of it there is."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A model that the classify stage wrote, and rows in its tokens, cut as in its training."""

    task: ClassifyTask
    model: PreTrainedModel
    data: Labelled

    @classmethod
    def load(
        cls, folder: Path, rows: Path, splits: Sequence[str], device: torch.device, batch_size: int
    ) -> "TrainedClassifier":
        """The model in `folder/model` with `splits` of `rows`.

        Raises StageError for rows of another kind than it was trained on.
        """
        summary = ModelSummary.read(folder)
        task = task_of(summary.task)
        model = task.load(folder / "model").to(device).eval()
        found = task.read(rows)
        tokenizer = load_tokenizer(folder / "model")
        own = {split: found[split] for split in splits}
        return cls(task, model, task.tensors(summary.labels, tokenizer, own, batch_size))

    def scores(self, split: str) -> Iterator[Part]:
        """Each row's score from 0 to 100; of each there is 1."""
        found = self.task.predict(self.model, self.data, split)
        yield from ((score, 1.0) for score in scores_of(self.task, self.data.rows[split], found))

    @torch.no_grad()
    def losses(self, split: str) -> Iterator[Part]:
        """Each row's part of the loss that is minimised: the sum over its labels, and how many these are.

        A row at a time: the loss of a batch is one number.
        """
        for texts in self.data.texts_by_row(split):
            batch = {name: tensor.to(self.model.device) for name, tensor in self.data.collate(texts).items()}
            labels = batch.pop("labels")
            loss = self.task.loss(classifier_output(self.model, batch), labels, num_items_in_batch=1)
            yield loss.item(), float((labels != IGNORED).sum())


def predict(config: PredictConfig, run: StageRun, *, model: Path, rows: Path) -> None:
    """Classify the test split of `rows` with `model/model`, whose tokenizer cuts texts as in its training.

    Writes `predictions.jsonl`, and `scores.json` and `scores.jsonl` as the classify stage does. Raises
    StageError for a row of another kind than the model was trained on.
    """
    run.phase("loading the model")
    device = pick_device(config.device)
    trained = TrainedClassifier.load(model, rows, ("test",), device, config.batch_size)
    task, test = trained.task, trained.data.rows["test"]
    found = task.predict(trained.model, trained.data, "test")
    predictions = predictions_of(task, test, found)
    write_predictions(run.out, predictions)
    write_scores(task, run.out, test, found)
    run.log_table(predictions, "predictions.json")
    run.progress(len(test), len(test), "rows", "classified")
