"""Configuration of a comparison of pretrained models by their losses on the same text."""

from pydantic import Field

from tasks.config.base import Device, Positive, Seed, StageConfig


class PretrainedConfig(StageConfig):
    """How the models of one recipe, which are inputs in the order of `seeds`, were trained and evaluated."""

    seeds: tuple[Seed, ...] = Field(min_length=1)
    context: Positive
    sequences: Positive
    """Of an optimizer step."""
    document_mask: bool


class LossesConfig(StageConfig):
    """Two recipes, each with the trainings of its seeds."""

    a: PretrainedConfig
    b: PretrainedConfig
    device: Device = "auto"

    @property
    def paired_seeds(self) -> bool:
        """Whether seed i of both read the same blocks in the same order: that order is drawn by the seed."""
        return (self.a.seeds, self.a.context, self.a.sequences) == (
            self.b.seeds,
            self.b.context,
            self.b.sequences,
        )
