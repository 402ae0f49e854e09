"""Configuration of a series of sizes: what was trained with how much of everything."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.base import Positive, StageConfig


class SeriesRung(StageConfig):
    """One model of the ladder, as its training ended."""

    size: str
    """As in `pretrain.size`."""
    parameters: Positive
    """All of them, embeddings too."""
    steps: Positive
    tokens: Positive
    """That were read."""
    state: Literal["done", "failed"] = "done"
    loss: float | None = None
    """Bits a byte of validation, of the weights that are kept."""
    seconds: float | None = None
    run_id: str | None = None
    reason: str | None = None
    """Why it failed."""

    @property
    def flops(self) -> int:
        """Six a parameter and token (Kaplan et al. 2020)."""
        return 6 * self.parameters * self.tokens


class SeriesConfig(StageConfig):
    """A ladder of sizes, the smallest first; what each lost on each part of the text is an input."""

    profile: str
    tokens_per_parameter: float | None = None
    """As many for each size; None where `flops` are."""
    flops: float | None = None
    rungs: Annotated[tuple[SeriesRung, ...], Field(min_length=2)]
    resamples: Positive = 1000
