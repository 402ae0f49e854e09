"""What fine-tuning leaves beside a model: a summary of each method, and the evaluation of a classifier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NotRequired, TypedDict

from tasks.machine.json_files import Json, JsonFile, read_lines, write_lines
from tasks.models.summary import SUMMARY

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True, kw_only=True)
class SftSummary(JsonFile):
    """Of supervised fine-tuning."""

    FILE: ClassVar[str] = SUMMARY

    method: Literal["sft"]
    template: str
    loss: str
    packing: bool
    tune: str
    parameters: int
    trainable_parameters: int
    sequences: int
    supervised_tokens: int
    rows_cut: int
    steps: int
    train_loss: float | None
    best_step: int | None
    """Of the lowest validation loss, which the kept weights have; None without validation."""
    best_validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class DpoSummary(JsonFile):
    """Of preference optimization; the rewards of validation are those of the kept weights."""

    FILE: ClassVar[str] = SUMMARY

    method: Literal["dpo"]
    template: str
    beta: float
    tune: str
    parameters: int
    trainable_parameters: int
    pairs: int
    completions_cut: int
    reward_margin: float | None
    reward_accuracy: float | None
    validation_reward_margin: float | None
    validation_reward_accuracy: float | None
    steps: int
    train_loss: float | None
    best_step: int | None
    best_validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class ClassifySummary(JsonFile):
    """Of training a classifier."""

    FILE: ClassVar[str] = SUMMARY

    task: Literal["classification"]
    labels: Sequence[str]
    """In the order of the classifier's outputs."""
    tune: str
    parameters: int
    trainable_parameters: int
    supervised_rows: int
    rows_cut: int
    steps: int
    train_loss: float | None
    best_step: int | None
    best_validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(JsonFile):
    """A classifier on every split, and against its baselines on the test rows."""

    FILE: ClassVar[str] = "evaluation.json"

    labels: Sequence[str]
    positive: str | None
    splits: Mapping[str, Json]
    """By split: rows, loss, accuracy with its interval, F1 by label and over labels, confusion."""
    baselines: Sequence[Json]
    """Each with its name, its own numbers, the difference to it in points, and the p-value of that."""

    @property
    def baseline_names(self) -> list[str]:
        return [baseline["name"] for baseline in self.baselines]


class Prediction(TypedDict):
    """A test row; beside these a baseline's label stands under the baseline's name."""

    id: int
    text: str
    text_pair: NotRequired[str]
    """The second of two texts that are labelled together."""
    label: str
    predicted: str
    probability: float
    """Of the predicted label, by the classifier."""
    source: NotRequired[str]


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> None:
    """A line a test row."""
    write_lines(folder / PREDICTIONS, predictions)


def read_predictions(folder: Path) -> list[Prediction]:
    return read_lines(folder / PREDICTIONS)
