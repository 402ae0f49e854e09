"""What pretraining leaves beside the model: its summary, and its speed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile
from tasks.models.summary import SOURCE_LOSS, SUMMARY

SPEED, TIMES = "speed.json", "times.json"
"""Beside the output: another run of the same work has another speed, and takes another time."""


def of_sources(losses: Mapping[str, float]) -> dict[str, float]:
    """Validation losses by source under the names that the history has for them."""
    return {f"{SOURCE_LOSS}{name}": loss for name, loss in losses.items()}


@dataclass(frozen=True, kw_only=True)
class PretrainSummary(JsonFile):
    """Of pretraining; what was best is absent where nothing was evaluated."""

    FILE: ClassVar[str] = SUMMARY

    parameters: int
    optimizer: str
    steps: int
    tokens: int
    stopped_early: bool
    train_loss: float
    best_step: int | None = None
    """Of the lowest validation loss, which the kept weights have."""
    best_validation_loss: float | None = None
    best_perplexity: float | None = None
    best_bits_per_byte: float | None = None
    objective: str | None = None
    """Absent where the next token was predicted."""
    best_masked_accuracy: float | None = None
    """Share of the masked tokens that were predicted right."""
    best_pseudo_perplexity: float | None = None
    """Of some of the validation texts, each token masked in turn; no perplexity of a text."""
    sources: list[Json] | None = None
    """Where sources were mixed: what was read of each (`SourceRead`), and its `validation_loss` at the best
    step, if there is one."""


@dataclass(frozen=True, kw_only=True)
class LossComparison(JsonFile):
    """Two recipes' losses on the same validation text."""

    FILE: ClassVar[str] = "losses.json"

    tokens: int
    """Predicted by all."""
    bytes: int
    """That these stand for."""
    parts: int
    part: str
    """What the text was cut into for the interval: documents, or stretches."""
    tokens_per_part: float
    paired_seeds: bool
    a: Json
    b: Json
    """Of each its shape, and of every seed the loss in nats a token; `curve` is of its evaluations."""
    difference: Json
    """B's loss minus A's, in bits a byte, with its intervals; positive: A is better."""
