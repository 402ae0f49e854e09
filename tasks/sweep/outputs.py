"""What a sweep leaves: `sweep.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class RowValues(JsonFile):
    """A trained model's number, in parts: a trial's is the ratio of the totals of validation."""

    FILE: ClassVar[str] = "values.json"

    unit: str
    """What the parts are: rows, sources of rows, documents, or stretches of a text."""
    validation: Json
    """`sums` and `counts` of each part: nats and tokens, bits and bytes, or a score and 1. Both empty where
    the model is of a kind that is not measured so."""
    test: Json | None = None
    """The same of the test rows, where those were measured."""
    scorer: str | None = None
    """Of the scores of a classifier's rows, whose task says by what they are."""

    @property
    def mean(self) -> float:
        """The number of the trial."""
        return sum(self.validation["sums"]) / sum(self.validation["counts"])


def are_of_same_parts(values: Sequence[RowValues]) -> bool:
    """Whether there are several parts, the same in all; stretches are, where they have as many tokens."""
    counts = [one.validation["counts"] for one in values]
    same = all(len(one) == len(counts[0]) for one in counts)
    is_cut = values[0].unit == "stretches"
    return len(counts[0]) > 1 and same and not (is_cut and counts.count(counts[0]) < len(counts))


@dataclass(frozen=True, kw_only=True)
class Sweep(JsonFile):
    """The trials, the one that was chosen by validation alone, and how far its number flatters it."""

    FILE: ClassVar[str] = "sweep.json"

    profile: str
    command: str
    """That runs the chosen settings by themselves."""
    stage: str
    by: str
    direction: str
    sampler: str
    space: Sequence[Json]
    trials: Sequence[Json]
    best: int | None
    """The number of the trial that was chosen; None where none came to its end."""
    survived: int
    """The trials that it was the best of: those of different settings that came to their end, itself too."""
    importance: Json | None
    """Each setting's share of the variance between trials, of all 1; None where that cannot be told."""
    flattery: Json
    """`noise`: the lead that the best of equal trials would have over their mean; `rows`: the bootstrap's
    estimate over validation rows, None where these were not measured one by one; `test`: the number of the
    chosen trial on test rows, with its interval, where it was measured."""
    metric: str | None = None
    """The scorer behind a validation score."""
    test: Sequence[Json] = ()
    """The scores of the chosen trial's model on the test rows, by the headline and by `metric`."""
