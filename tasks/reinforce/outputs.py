"""What reinforcement leaves beside a model."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tasks.machine.json_files import Json, JsonFile
from tasks.models.summary import SUMMARY


@dataclass(frozen=True, kw_only=True)
class GrpoSummary(JsonFile):
    """Of GRPO and RLOO; what stands for validation is of greedy responses."""

    FILE: ClassVar[str] = SUMMARY

    method: Literal["grpo", "rloo"]
    template: str
    rewards: list[Json]
    """Each with its `name` and `weight`."""
    beta: float
    tune: str
    parameters: int
    trainable_parameters: int
    prompts: int
    group_size: int
    temperature: float
    steps: int
    reward: float | None
    """Of the last step, as the other numbers of training."""
    kl: float | None
    entropy: float | None
    length: float | None
    """Tokens of a response."""
    share_cut: float | None
    share_looping: float | None
    share_of_equal_groups: float | None
    best_step: int | None
    """Of the highest reward on validation prompts, which the kept weights have; None without validation."""
    validation_prompts: int
    validation_reward: float | None
    """Of the kept weights."""
    validation_reward_before: float | None
    """Of the model that it started from."""
    warnings: list[str]
    """What rose while something else fell."""
