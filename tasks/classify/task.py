"""What a task of a classifier says of itself: training, measuring and the card ask this and no other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mlflow.models.model import ModelInfo
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.labelled import Labelled, classifying_tokenizer
from tasks.classify.card import Card
from tasks.classify.outputs import Prediction
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.machine.json_files import Json
from tasks.models.classifier import Head, load_classifier, new_classifier
from tasks.preflight.report import Report
from tasks.rows import SPLITS, Alike, Row, load_split
from tasks.statistics.intervals import Sources

Splits = dict[str, list[Row]]
"""The rows of train, validation and test."""
Phase = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a classifier gives the rows of a split, in their order."""

    given: list[Any]
    """Plain answers, of the form that `ClassifyTask.truth` has."""
    probabilities: list[float]
    """Of each answer, by the classifier."""
    loss: float | None
    """The mean that is minimised, in nats; None where a right answer is one that was not trained on."""


@dataclass(frozen=True)
class Baseline:
    """Another way to answer: what it is, and what it gives each test row."""

    name: str
    description: str
    predicted: list[Any]


class ClassifyTask(ABC):
    """A task: which rows it takes, what is learned of them, how it is measured, what the model answers."""

    name: ClassVar[str]
    """The kind of its rows (`RowKind.name`), and its name in `TASKS`."""
    head: ClassVar[Head]
    scorer: ClassVar[str]
    """What a test row's score from 0 to 100 is called: `metric:accuracy`."""
    card: ClassVar[Card]
    """What people read of it; its headline is measured by `measured`."""
    logged: ClassVar[Mapping[str, str]]
    """What `evaluate` measures beside `eval_loss`, and the history's name of it."""

    # The rows

    @abstractmethod
    def require(self, split: str, rows: Sequence[Row]) -> None:
        """Raise StageError for a row of another kind."""

    @abstractmethod
    def labels(self, found: Splits) -> tuple[str, ...]:
        """Of the model's outputs, in their order. Raises StageError where there is nothing to tell apart."""

    @abstractmethod
    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> Labelled:
        """Rows in tokens of a tokenizer that knows how long they may be; `labels` may lack some of theirs.

        Raises StageError for a row that cannot be learned from.
        """

    def read(self, rows: Path) -> Splits:
        """What the rows stage wrote. Raises StageError for a row of another kind."""
        found = {split: load_split(rows, split) for split in SPLITS}
        for split, members in found.items():
            self.require(split, members)
        return found

    def data(
        self,
        config: ClassifyConfig,
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        context: float,
        groups: Alike | None = None,
    ) -> Labelled:
        """What `read` gave, in tokens; `context` is the model's longest sequence, or infinite.

        Raises StageError for a row that cannot be learned from.
        """
        labels = self.labels(found)
        tokenizer.model_max_length = int(min(config.max_length, context))
        return self.tensors(labels, tokenizer, found, config.batch_size, groups)

    def tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        """The base's, set as this task needs it."""
        return classifying_tokenizer(folder)

    # The model

    def new_model(
        self, folder: Path, labels: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, seed: int
    ) -> PreTrainedModel:
        """The base in `folder` with a new head. Raises StageError for a base that cannot have one."""
        return new_classifier(folder, labels, tokenizer, seed, self.head)

    def load(self, folder: Path) -> PreTrainedModel:
        """A model that the stage wrote, in float32 on the CPU."""
        return load_classifier(folder, self.head)

    @abstractmethod
    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """What is minimised, in nats: the mean over the whole optimizer step, of however many batches."""

    @abstractmethod
    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        """`eval_loss` on the validation rows, and what `logged` names.

        Batches are passed through `heeding`, which may raise, or leave some to other processes; `together`
        adds up what all processes have found, zero where one has nothing.
        """

    # The checks before training

    @abstractmethod
    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        """The checks of the model as it is before the first step, and of the rows."""

    @abstractmethod
    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        """The checks of the rows alone, whatever the model."""

    # Measuring

    @abstractmethod
    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        """What the model gives a split of at least one row, without dropout."""

    @abstractmethod
    def asked(self, row: Row) -> Json:
        """Its fields that `predictions.jsonl` keeps: its id, what is asked, and what `truth` reads."""

    @abstractmethod
    def truth(self, row: Row) -> Any:
        """The right answer, of a row or of a line of `predictions.jsonl`."""

    @abstractmethod
    def score(self, truth: Any, given: Any) -> float:
        """How right an answer is, from 0 to 100; a wholly right one has 100."""

    @abstractmethod
    def measured(
        self, truth: Sequence[Any], given: Sequence[Any], labels: Sequence[str], sources: Sources
    ) -> Json:
        """`rows`, and from 0 to 1 what `card.measures` names, the headline with its interval; and more."""

    @abstractmethod
    def baselines(self, data: Labelled) -> list[Baseline]:
        """Simpler ways, trained on the training rows, on the test rows."""

    def draw(self, folder: Path, labels: Sequence[str], splits: Mapping[str, Json]) -> None:
        """Pictures of the evaluation, beside the outputs; none by default."""
        del folder, labels, splits

    # Using it

    @abstractmethod
    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        """Log the model in `folder` into the active run, so that `mlflow.pyfunc` takes plain inputs.

        `predictions` are at least one, whose inputs are the example.
        """

    @abstractmethod
    def inputs(self, prediction: Prediction) -> Json:
        """What `mlflow.pyfunc` is given of a row: a column each."""

    @abstractmethod
    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        """How the answer of the logged model differs from what was evaluated; None where it does not."""

    @abstractmethod
    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        """What the model says of a text, for a person. Raises StageError where a text is not enough."""
