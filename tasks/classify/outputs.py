"""What the classify stage leaves beside a model: its summary, its evaluation, its predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tasks.errors import StageError
from tasks.machine.json_files import Json, JsonFile, read_lines, write_lines
from tasks.models.summary import CLASSIFICATION, SUMMARY, ModelSummary

PREDICTIONS = "predictions.jsonl"
ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class ClassifySummary(JsonFile):
    """Of training a classifier."""

    FILE: ClassVar[str] = SUMMARY

    task: str
    """The kind of rows that it was trained on: a name of `TASKS`."""
    labels: Sequence[str]
    """In the order of the classifier's outputs; none where its answers are no labels."""
    tune: str
    parameters: int
    trainable_parameters: int
    supervised_rows: int
    rows_cut: int
    steps: int
    train_loss: float | None
    best_step: int | None
    best_validation_loss: float | None
    measured_test: bool = True
    """Whether the model was measured on the test rows; else no other file of this room is beside it."""


def require_measured(folder: Path) -> None:
    """Raise StageError for the model of a classifier that was not measured on test rows."""
    if not ModelSummary.read(folder).numbers.get("measured_test", True):
        raise StageError(
            "the classifier is of a trial of a sweep, whose test rows were not measured, so that there is "
            "nothing to promote or to show of it. Take the run of what the sweep chose, or run the profile "
            "with the trial's settings"
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation(JsonFile):
    """A classifier on every split, and against its baselines on the test rows."""

    FILE: ClassVar[str] = "evaluation.json"

    labels: Sequence[str]
    positive: str | None
    splits: Mapping[str, Json]
    """By split: rows, loss, and what the task measures, the headline with its interval among it."""
    baselines: Sequence[Json]
    """Each with its name, its own numbers, the difference to it in points, and the p-value of that."""
    task: str = CLASSIFICATION
    measure: str = ACCURACY
    """The name of the headline among the numbers: from 0 to 1, a mean with its 95% interval."""

    @property
    def baseline_names(self) -> list[str]:
        return [baseline["name"] for baseline in self.baselines]


Prediction = Json
"""A test row: its fields as `ClassifyTask.asked` has them, `predicted` with its `probability`, its `source`
where it has one; a baseline's answer stands under the baseline's name."""


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> None:
    """A line a test row."""
    write_lines(folder / PREDICTIONS, predictions)


def read_predictions(folder: Path) -> list[Prediction]:
    return read_lines(folder / PREDICTIONS)
