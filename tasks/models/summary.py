"""What stands beside the model in the output of a stage that makes one: its summary, its training's history.

Each such stage has a summary of its own, in its room. Whoever has a model and not the stage that made it
reads here what there is to know of any.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks.errors import StageError
from tasks.machine.json_files import Json, read_json, read_lines, write_lines

SUMMARY, HISTORY = "summary.json", "history.jsonl"
SOURCE_LOSS = "validation_loss/"  # how the name of a loss on one source of the validation text begins
CLASSIFICATION = "classification"  # the task of a model that gives a label; one that writes names none
REWARD = "reward"  # that of one that says what a response is worth

HistoryEntry = Mapping[str, float]
"""A step or an evaluation: its `step`, and the numbers that were measured there."""


@dataclass(frozen=True)
class ModelSummary:
    """What is known of a model, whichever stage made it."""

    numbers: Json
    """All that its stage tells, as it stands in the file."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls(read_json(folder / SUMMARY))

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """As `read`; None where the folder has no summary."""
        return cls.read(folder) if (folder / SUMMARY).is_file() else None

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return self.numbers["parameters"]

    @property
    def classifies(self) -> bool:
        """Whether it gives labels, or other answers of a task, instead of text."""
        return self.task is not None

    @property
    def task(self) -> str | None:
        """What a classifier was trained to give (`tasks/classify/tasks.py`); None of a model that writes."""
        return self.numbers.get("task")

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that a classifier gives, in the order of its outputs; a reward model gives none."""
        return tuple(self.numbers.get("labels", ()))

    @property
    def template(self) -> str:
        """That it was fine-tuned in. Raises StageError for a model that was not."""
        if "template" not in self.numbers:
            raise StageError("the template that it was trained in is not known")
        return self.numbers["template"]

    @property
    def registered(self) -> dict[str, str]:
        """The `version` of the registry that it was imported from, with its `preflight`; else nothing."""
        return self.numbers.get("registered", {})

    @property
    def best_step(self) -> int | None:
        """The step of the lowest validation loss; None without validation, and of an imported model."""
        return self.numbers.get("best_step")

    @property
    def best_validation_loss(self) -> float | None:
        return self.numbers.get("best_validation_loss")


def was_trained(folder: Path) -> bool:
    """Whether the model was trained here: one that was imported has no history."""
    return (folder / HISTORY).exists()


def write_history(folder: Path, history: Iterable[HistoryEntry]) -> None:
    write_lines(folder / HISTORY, history)


def read_history(folder: Path) -> Sequence[HistoryEntry]:
    return read_lines(folder / HISTORY)
