"""Configuration of a comparison of pretrained models by their losses on the same text."""

from typing import Annotated

from pydantic import Field

from tasks.config.base import KEYED_IF_SET, Device, Positive, Seed, StageConfig
from tasks.config.mixtures import MixturePhase


class PretrainedConfig(StageConfig):
    """How the models of one recipe, which are inputs in the order of `seeds`, were trained and evaluated."""

    seeds: tuple[Seed, ...] = Field(min_length=1)
    context: Positive
    sequences: Positive
    """Of an optimizer step."""
    document_mask: bool
    mixture_phases: Annotated[tuple[MixturePhase, ...], KEYED_IF_SET] = ()


class LossesConfig(StageConfig):
    """Two recipes, each with the trainings of its seeds."""

    a: PretrainedConfig
    b: PretrainedConfig
    device: Device = "auto"

    @property
    def paired_seeds(self) -> bool:
        """Whether seed i of both read the same blocks in the same order: that order is drawn by the seed."""
        orders = [
            (recipe.seeds, recipe.context, recipe.sequences, recipe.mixture_phases)
            for recipe in (self.a, self.b)
        ]
        return orders[0] == orders[1]
