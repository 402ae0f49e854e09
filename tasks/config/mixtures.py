"""Configuration of mixtures: how much of what is trained on is drawn from which source."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.config.base import StageConfig

Weight = Annotated[float, Field(ge=0)]


def _draws_something(weights: dict[str, float]) -> dict[str, float]:
    if not any(weights.values()):
        raise ValueError("no source has a weight above 0; give one to at least one of them")
    return weights


Mixture = Annotated[dict[str, Weight], AfterValidator(_draws_something)]
"""Weights by the names of sources; only their ratios matter."""


def shares_of(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as shares that add up to 1."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


class MixturePhase(StageConfig):
    """By which shares sources are drawn from one sequence of a training on."""

    begins: int
    """How many sequences are drawn before it."""
    shares: dict[str, float]
