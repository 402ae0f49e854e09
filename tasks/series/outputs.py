"""What a series leaves: `series.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class Series(JsonFile):
    """The sizes, and L = E + A / N^alpha fitted to their losses in bits a byte."""

    FILE: ClassVar[str] = "series.json"

    profile: str
    tokens_per_parameter: float | None
    flops: float | None
    rungs: Sequence[Json]
    """The smallest first, each with its `flops`."""
    fit: Json | None
    """Of all sizes: `floor` (E), `scale` (A), `alpha`, and the 95% intervals of the first and the last, None
    where the draws do not give one. None where there is no fit."""
    held_out: Json | None
    """The largest size as the fit of the others foretells it: `predicted` and its interval, `measured`, and
    the `gap` between the two with its interval. None where there are too few others, or no fit of them."""
    why_not: str = ""
    """Why there is no fit, or nothing held out."""
    parts: Json | None = None
    """What the draws are of: `count` and `unit`; None where the sizes were not measured on the same parts."""
