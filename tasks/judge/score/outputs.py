"""What scoring leaves: `scores.json` over all rows, `scores.jsonl` a line a row, and `judge.json` of judges.

Whoever scores writes these: the judge stage, and what classifies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

from tasks.machine.json_files import Json, JsonFile, read_lines, write_lines

LINES = "scores.jsonl"

Status = Literal["ok", "too_many_missing", "judge_failed_audit"]


class ScoreEntry(TypedDict):
    """One scorer's numbers over all rows; points are 0 to 100."""

    scorer: str
    kind: Literal["metric", "judge"]
    status: Status
    mean: float | None
    """None, as `low` and `high` of its 95% interval and the median, where `status` is not ok."""
    low: float | None
    high: float | None
    median: float | None
    rows: int
    scored: int
    missing: int
    missing_because: list[Json]
    """A `reason` with its `count`, the most frequent first."""
    lowest_possible: float
    """The mean if every missing score were 0; `highest_possible` if every one were 100."""
    highest_possible: float
    histogram: list[int]
    correlations: dict[str, Json]
    """With other numbers of the same rows, by their names."""
    corpus_bleu: NotRequired[float]


@dataclass(frozen=True, kw_only=True)
class ScoreSummary(JsonFile):
    """The scores of one file of responses, or of a classifier's labels."""

    FILE: ClassVar[str] = "scores.json"

    headline: str
    """The scorer that decides."""
    scores: Sequence[ScoreEntry]
    responses: Json | None = None
    """How the responses are, whatever they say (`behaviour`); a classifier has none."""
    categories: Mapping[str, Mapping[str, Json]]
    """By category, then by scorer: mean, rows, scored."""
    agreement: Json | None = None
    """Of several judges (`panel.agreement`)."""
    criteria: Mapping[str, float] = field(default_factory=dict)
    """The weight of each criterion that the judges were asked about."""

    def entry(self, scorer: str) -> ScoreEntry | None:
        return next((entry for entry in self.scores if entry["scorer"] == scorer), None)


@dataclass(frozen=True, kw_only=True)
class Judges(JsonFile):
    """Who judged; where metrics scored alone there is no such file."""

    FILE: ClassVar[str] = "judge.json"

    despite_audit: bool
    """Whether those that failed their audit were asked all the same."""
    criteria: Sequence[Json]
    judges: Sequence[Json]
    """Each on each criterion: scorer, criterion, digest, version, prompt, and what its audit said."""


def judges_of(folder: Path) -> Sequence[Json]:
    """Each judge of some scores with its audit; none where metrics scored alone."""
    found = Judges.find(folder)
    return found.judges if found else []


def write_score_lines(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """A line a row: its `id`, its score by each scorer's name (None: missing), and what is known of it."""
    write_lines(folder / LINES, lines)


def read_score_lines(folder: Path) -> dict[int, Json]:
    """The lines by the id of their row, in the order in which the rows were scored."""
    return {line["id"]: line for line in read_lines(folder / LINES)}
