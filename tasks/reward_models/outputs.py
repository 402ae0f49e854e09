"""What a reward model leaves beside its weights: a summary, and what it comes to on held-out pairs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tasks.machine.json_files import Json, JsonFile, read_lines, write_lines
from tasks.models.summary import SUMMARY

LINES = "pairs.jsonl"


@dataclass(frozen=True, kw_only=True)
class RewardSummary(JsonFile):
    """Of the training; accuracy and margin of validation are those of the kept weights."""

    FILE: ClassVar[str] = SUMMARY

    method: Literal["reward"]
    task: Literal["reward"]
    """That it gives a number, and writes no text."""
    template: str
    max_length: int
    """Tokens of a prompt and its response; longer ones are cut there."""
    center: float
    tune: str
    parameters: int
    trainable_parameters: int
    pairs: int
    responses_cut: int
    reward_margin: float | None
    reward_accuracy: float | None
    validation_reward_margin: float | None
    validation_reward_accuracy: float | None
    steps: int
    train_loss: float | None
    best_step: int | None
    best_validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class RewardEvaluation(JsonFile):
    """Of the test pairs; shares are from 0 to 1, with their 95% intervals as `mean`, `low`, `high`."""

    FILE: ClassVar[str] = "reward.json"

    pairs: int
    accuracy: Mapping[str, float]
    """How often the chosen response is worth more; a tie is half a pair."""
    loss: float
    """Nats a pair; ln 2 is that of knowing nothing."""
    rewards: Mapping[str, float]
    """The mean reward of the `chosen` and of the `rejected` responses."""
    margin: Json
    """Of the chosen over the rejected: `mean`, `sd`, `quantiles` by percent, `histogram`."""
    calibration: Json
    """`error`, the expected calibration error, and the `bins` that it is of."""
    length_correlation: float | None
    """Spearman's, of the margins with how many more words the chosen response has."""
    baselines: Sequence[Json]
    """What must be beaten, each with its accuracy and the paired difference to it."""
    warnings: Sequence[str]


def write_pairs(folder: Path, lines: Iterable[Json]) -> None:
    """A line a test pair: its `id`, and what its `chosen` and its `rejected` response are worth."""
    write_lines(folder / LINES, lines)


def read_pairs(folder: Path) -> list[Json]:
    return list(read_lines(folder / LINES))
