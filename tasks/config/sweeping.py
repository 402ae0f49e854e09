"""Configuration of a sweep: what was tried of which settings, and by what it was chosen."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config.base import KEYED_IF_SET, Positive, StageConfig
from tasks.config.pretraining import PretrainConfig
from tasks.config.tuning import ClassifyConfig, DpoConfig, FinetuneConfig

Sampler = Literal["grid", "random", "tpe"]
Direction = Literal["minimize", "maximize"]


class SweepDimension(StageConfig):
    """One setting, and what may be tried of it: `values` as they are written, or all from `low` to `high`."""

    setting: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    """Whether equal ratios, not equal differences, are equally likely."""
    whole: bool = False
    """Whether only whole numbers are tried."""

    @model_validator(mode="after")
    def _is_a_list_or_a_range(self) -> Self:
        if self.values:
            if len(set(self.values)) < len(self.values):
                raise ValueError(f"{self.setting}: a value is a duplicate in {', '.join(self.values)}")
            if len(self.values) == 1:
                raise ValueError(
                    f"{self.setting}: {self.values[0]} alone is no choice. Give several, as 4,8,16, or "
                    f"a range, as 1e-4..1e-2:log, or set it: --set {self.setting}={self.values[0]}"
                )
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"{self.setting}: the range {self.low}..{self.high} does not rise")
        if self.log and self.low <= 0:
            raise ValueError(f"{self.setting}: a range by ratios (:log) begins above 0, found {self.low:g}")
        return self

    @property
    def is_range(self) -> bool:
        return not self.values

    def text(self, number: float) -> str:
        """A number of the range as it is written after `--set`: six digits tell it from its neighbours."""
        return str(round(number)) if self.whole else f"{number:.6g}"

    @property
    def size(self) -> int | None:
        """How many values there are; None where there is no end to them."""
        if self.values:
            return len(self.values)
        return int(self.high) - int(self.low) + 1 if self.whole else None

    def choices(self) -> tuple[str, ...]:
        """All values of a dimension that has a size."""
        return self.values or tuple(map(str, range(int(self.low), int(self.high) + 1)))


class ValidateConfig(StageConfig):
    """The training whose model is measured row by row: one of the four."""

    pretrain: PretrainConfig | None = None
    finetune: FinetuneConfig | None = None
    dpo: DpoConfig | None = None
    """By responses, where its weights are kept by a score of these."""
    classify: Annotated[ClassifyConfig | None, KEYED_IF_SET] = None
    score: bool = False
    """By the metric that weights are kept by, of a classifier by its task's score, instead of the loss."""
    test: bool = False
    """The test rows too; of a loss on rows alone."""


class SweepTrial(StageConfig):
    """One trial, as it ended; a trial that repeats the settings of another has its value."""

    number: int
    settings: dict[str, str]
    state: Literal["done", "pruned", "failed"]
    value: float | None = None
    seconds: float | None = None
    stages: int = 0
    cached: int = 0
    """Of its stages, those that were found."""
    run_id: str | None = None
    repeats: int | None = None
    """The number of the trial that had the same settings."""
    reason: str | None = None
    """Why it failed."""


class SweepConfig(StageConfig):
    """A sweep that has ended; what the chosen trial came to on test rows is an input."""

    profile: str
    command: str
    """That runs the chosen settings by themselves; empty where nothing could be chosen."""
    stage: str
    """The training whose validation chose."""
    by: str
    direction: Direction
    metric: str | None = None
    """The scorer behind a validation score: `metric:chrf`."""
    sampler: Sampler
    space: Annotated[tuple[SweepDimension, ...], Field(min_length=1)]
    trials: tuple[SweepTrial, ...]
    resamples: Positive = 2000
