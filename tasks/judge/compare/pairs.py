"""Rows that two models answered: the same question with the same right answer, whatever their ids.

The question is all that came before the response: the same words after another conversation ask another.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import UsageError
from tasks.judge.protocol.responses import ResponseRow, read_rows
from tasks.judge.score.outputs import ScoreEntry, ScoreSummary, judges_of, read_score_lines
from tasks.machine.json_files import Json


@dataclass(frozen=True)
class Judged:
    """One model's rows, with the line of `scores.jsonl` of each, and the numbers over all of them."""

    rows: list[ResponseRow]
    lines: dict[int, Json]
    summary: ScoreSummary
    judges: Sequence[Json]
    """Who judged, and by which prompt; empty where only metrics scored."""

    def entry(self, scorer: str) -> ScoreEntry | None:
        return self.summary.entry(scorer)


@dataclass(frozen=True)
class Pair:
    """A row of A and the same row of B."""

    a: ResponseRow
    b: ResponseRow


def read_judged(responses: Path, scores: Path) -> Judged:
    return Judged(
        rows=read_rows(responses),
        lines=read_score_lines(scores),
        summary=ScoreSummary.read(scores),
        judges=judges_of(scores),
    )


def paired(a: Sequence[ResponseRow], b: Sequence[ResponseRow], *, only_common: bool) -> list[Pair]:
    """The rows of both, in the order of A's; rows that occur more than once are paired in their order.

    Raises UsageError when the two are not of the same rows, unless only those in common are asked for, and
    when there are none.
    """
    theirs: Mapping[tuple[object, ...], list[ResponseRow]] = defaultdict(list)
    for row in b:
        theirs[_question(row)].append(row)
    waiting = {question: iter(rows) for question, rows in theirs.items()}
    pairs = [
        Pair(row, other)
        for row in a
        if (other := next(waiting.get(_question(row), iter(())), None)) is not None
    ]
    if not pairs:
        raise UsageError(
            f"A has {len(a)} rows and B {len(b)}, and no question with its right answer is in both"
        )
    if not only_common and Counter(map(_question, a)) != Counter(map(_question, b)):
        raise UsageError(
            f"A has {len(a)} rows and B {len(b)}, of which {len(pairs)} are the same. A comparison is of the "
            "same rows; --only-common leaves the others out"
        )
    return pairs


def _question(row: ResponseRow) -> tuple[object, ...]:
    return row.instruction, row.input, row.reference, row.before
