"""What a comparison of two models leaves: `compare.json`, and of a judge who was shown both the choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class Comparison(JsonFile):
    """A against B; positive differences mean that A is better."""

    FILE: ClassVar[str] = "compare.json"

    headline: str
    mode: Literal["scores", "pairwise"]
    rows: int
    rows_a: int
    rows_b: int
    tie: float
    differences: Sequence[Json]
    """By every scorer, the headline first."""
    pairwise: Json | None
    labels: Json | None = None
    """The headline's difference corrected by people's labels; absent where there are none."""
    moved: Sequence[Json]
    """The rows that differ most, with both responses."""
