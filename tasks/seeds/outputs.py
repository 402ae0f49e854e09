"""What several trainings of one recipe leave: `seeds.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class Spread(JsonFile):
    """How far apart the trainings are, and what holds over them; `by_seed` is in the order of `done`."""

    FILE: ClassVar[str] = "seeds.json"

    runs: Sequence[Json]
    """Every training with its seeds, and why it failed if it did."""
    done: Sequence[int]
    """The numbers of those that came to their end."""
    headline: str | None
    scores: Sequence[Json]
    differences: Sequence[Json]
    """Each later model minus each earlier one, and a classifier minus its baselines."""
    losses: Json | None
    """Of pretraining, the lowest on validation; None where there was none to measure."""
    benchmarks: Json | None = None
    """As `tasks/seeds/benchmarks.py` has it; None where no model was asked."""
