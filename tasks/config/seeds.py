"""Configuration of several trainings of one recipe, each with a seed of its own."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.config.base import Positive, Seed, StageConfig

MOST_SEEDS = 1000


def _number_or_list(value: Any) -> Any:
    """One message for what is neither, where pydantic would tell what it is not of each."""
    if isinstance(value, list | tuple):
        right = value and all(type(one) is int and 0 <= one < 2**32 for one in value)
        if right and len(set(value)) == len(value) <= MOST_SEEDS:
            return value
    elif type(value) is int and 1 <= value <= MOST_SEEDS:
        return value
    raise ValueError(
        f"expected how many trainings, from 1 to {MOST_SEEDS:,}, or a list of different seeds such as "
        f"[1, 2, 3]; found {value!r}"
    )


Seeds = Annotated[
    int | tuple[int, ...],
    BeforeValidator(_number_or_list),
    Field(
        description="how many trainings are run, each with a seed of its own, or a list of those seeds; "
        "what one seed shows need not hold of the recipe"
    ),
]


class SeedRun(StageConfig):
    """One of the trainings: its number from 1 on, the seeds of its stages, and why it failed, if it did."""

    number: Positive
    seeds: dict[str, Seed]
    error: str | None = None


class SeedsConfig(StageConfig):
    """What was done with which seeds; what came of it are the inputs."""

    runs: tuple[SeedRun, ...] = Field(min_length=1)
