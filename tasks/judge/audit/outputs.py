"""What the audit of a judge leaves for those who use the judge: `audit.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class AuditReport(JsonFile):
    """Whether a judge is to be believed, and what says so."""

    FILE: ClassVar[str] = "audit.json"

    scorer: str
    mode: Literal["scores", "pairwise"]
    criterion: str | None
    """The one that the judge was asked about, if it was asked about one."""
    falsifiable: bool
    """Whether wrong answers were among the controls: without a reference only what answers nothing is."""
    digest: str
    version: str | None
    known_by: Literal["name", "digest"]
    form: str
    """The name of the scoring protocol."""
    prompt_version: str
    refusals: Sequence[str]
    """What of a request the judge's server refuses."""
    verdict: Literal["pass", "warn", "fail"]
    rows: int
    of: int
    answers: int
    missing_because: Sequence[Json]
    gates: Sequence[Json]
    controls: Sequence[Json]
