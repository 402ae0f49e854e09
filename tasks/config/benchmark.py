"""Configuration of benchmarks: tasks of lm-eval, and multiple-choice questions of one's own."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.config.base import OUTSIDE_KEY, Device, Positive, Seed, StageConfig
from tasks.config.data import DownloadConfig

Shots = Annotated[
    Annotated[int, Field(ge=0)] | None,
    Field(
        description="answered examples before each question, drawn anew for each; null: as many as the task "
        "of lm-eval says, else none. One that says 0 keeps to that"
    ),
]


class SuiteConfig(StageConfig):
    """Which benchmark tasks there are, and what is read of their data."""

    tasks: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    shots: Shots = None


class BenchmarkConfig(StageConfig):
    """A model's accuracy on tasks of lm-eval and on questions of one's own."""

    tasks: Annotated[
        tuple[str, ...],
        Field(description="tasks of lm-eval by name, or groups of them: arc_easy, piqa, blimp"),
    ] = ()
    questions: Annotated[
        DownloadConfig | None,
        Field(
            description="multiple-choice rows of one's own: a question, its choices and which is right; each "
            "source is a task, called as its file"
        ),
        OUTSIDE_KEY,
    ] = None
    columns: Annotated[
        dict[str, str],
        Field(description="what the columns of questions are called: {prompt: question, label: solution}"),
    ] = Field(default_factory=dict)
    limit: Annotated[
        Positive | None, Field(description="rows of each task that are asked, from the first on; null: all")
    ] = None
    shots: Shots = None
    seed: Annotated[Seed, Field(description="draws the answered examples")] = 123
    revisions: Annotated[
        dict[str, str],
        Field(
            description="commits of the data sets of lm-eval's tasks, by the data set; those that are not "
            "named here or known are taken as they are now"
        ),
        OUTSIDE_KEY,
    ] = Field(default_factory=dict)
    mirror: Annotated[
        str | None,
        Field(description="a folder or base address with TASK/SPLIT.jsonl, which is looked in first"),
        OUTSIDE_KEY,
    ] = None
    batch_tokens: Annotated[
        Positive, Field(description="bounds the memory: tokens of a batch"), OUTSIDE_KEY
    ] = 32_768
    device: Device = "auto"

    @property
    def suite(self) -> SuiteConfig:
        """What is known before there is a model."""
        return SuiteConfig(tasks=self.tasks, columns=self.columns, shots=self.shots)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.tasks and self.questions is None:
            raise ValueError("there is nothing to ask: name tasks of lm-eval, or give questions")
        if self.columns and self.questions is None:
            raise ValueError("columns: set, but there are no questions whose columns these are")
        if twice := sorted({name for name in self.tasks if self.tasks.count(name) > 1}):
            raise ValueError(f"tasks names {twice[0]} twice")
        return self
