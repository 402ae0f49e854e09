"""What is left of a registration: the version, and of a promotion what was decided on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import JsonFile


@dataclass(frozen=True, kw_only=True)
class Promotion(JsonFile):
    """A registered version; points are of 100."""

    FILE: ClassVar[str] = "promotion.json"

    name: str
    version: int
    champion: bool
    """Whether it became the champion then; another may have taken its place since."""
    reason: str
    scorer: str
    mean: float | None
    min_score: float
    margin: float
    preflight: str
    audit: str
    against: str | None
    anew: str | None
    leaked: int
    difference: float | None
    low: float | None
    high: float | None
    level: float | None
    part: str | None
    part_rows: int | None
    sealed_mean: float | None
    sealed_low: float | None
    sealed_high: float | None
    openings: int | None
    budget_left: float | None
    labels: str | None
    files: Mapping[str, str]
    """SHA-256 of every file of the version that is kept on this machine, by name."""


@dataclass(frozen=True, kw_only=True)
class Registration(JsonFile):
    """A registered version of a reward model, which takes part in no contest."""

    FILE: ClassVar[str] = "registered.json"

    name: str
    version: int
    files: Mapping[str, str]
    """SHA-256 of every file of the version that is kept on this machine, by name."""
