"""What fine-tuning leaves beside a model: a summary of each method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tasks.machine.json_files import JsonFile
from tasks.models.summary import SUMMARY


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
    keep_by: str = "loss"
    """Where that is not the loss, `best_step` has the highest score by this metric instead."""
    keep_rows: int = 0
    """Validation rows that were responded to for it."""
    best_validation_score: float | None = None
    lowest_loss_step: int | None = None
    """Where that is another step than the kept one."""
    source_losses: Mapping[str, float] | None = None
    """Where sources were mixed, the loss of the kept weights on the validation rows of each."""


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
    keep_by: str = "loss"
    keep_rows: int = 0
    best_validation_score: float | None = None
    lowest_loss_step: int | None = None
