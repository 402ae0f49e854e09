"""A candidate against the champion: at the gate, and behind it on the sealed rows.

A trace of a gain is enough to pass the gate; the sealed rows are then opened, at a level that the budget of
the test set still has. So of all series of candidates that are no better than their champion, however long,
at most 5% make a false one: whatever the gate lets through, the openings alone decide.

That holds as long as nobody chooses candidates by what they score on the sealed rows, which the report card
shows as part of the whole test split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from tasks.config import PromoteConfig
from tasks.registry.promote.openings import Opening
from tasks.registry.promote.parts import Parts
from tasks.registry.promote.promotion_wording import budget_text, coverage_text
from tasks.show.text import whatever_missing
from tasks.statistics.bounded import TAIL
from tasks.statistics.comparing import Paired, paired_test
from tasks.statistics.intervals import Sources, by_source

GATE_ERRORS = 1.0  # standard errors above the margin: every sixth of equal candidates has that many
TWO = 2  # units, below which nothing is known of how they vary

TestPart = Literal["gate", "sealed", "test"]
"""Which rows: `test` is all of a test set that is too small to be cut."""


class Pair(NamedTuple):
    """A row's two scores, None for a missing one, its source if it has one, and its content's digest."""

    ours: float | None
    theirs: float | None
    source: str | None
    digest: str

    @property
    def is_scored(self) -> bool:
        return self.ours is not None and self.theirs is not None


class Openings(Protocol):
    """What a contest needs of a budget."""

    @property
    def openings(self) -> int: ...

    def open(self, question: Any) -> Opening: ...


@dataclass(frozen=True)
class Contest:
    """How it went, by the rows that the candidate met last; `openings` counts this one."""

    passes: bool
    text: str
    shown: Paired | None = None
    level: float | None = None
    part: TestPart | None = None
    rows: int | None = None
    openings: int | None = None


def contest(
    config: PromoteConfig,
    pairs: Mapping[int, Pair],
    parts: Parts,
    budget: Openings,
    against: str,
    may_open: bool,
) -> Contest:
    """Compare the scores of rows, by id; without `may_open` the gate is all that is met.

    Nothing is spent on a candidate that the gate stops, nor where too few rows have scores to compare.
    """
    gate, sealed = ([pairs[row] for row in sorted(part)] for part in (parts.gate, parts.sealed))
    behind: TestPart = "sealed" if parts.gate else "test"
    meets: tuple[tuple[TestPart, list[Pair]], ...] = (("gate", gate), (behind, sealed))
    for part, rows in meets if parts.gate else meets[1:]:
        scored = [pair for pair in rows if pair.is_scored]
        named = {pair.source for pair in scored if pair.source is not None}
        units = len(named) + sum(pair.source is None for pair in scored)
        if units < (least := TWO if part == "gate" else max(config.min_rows, TWO)):
            what = f"{part} rows, those of one source counted once," if named else f"{part} rows"
            text = f"{units} {what} have a score of both it and {against}"
            return Contest(False, f"{text}; a comparison needs {least}")

    def outcome(part: TestPart, rows: list[Pair], level: float) -> Contest:
        scored = [pair for pair in rows if pair.is_scored]
        ours, theirs, sources, _ = zip(*rows, strict=True)
        shown = paired_test(ours, theirs, sources, level=level)
        passes = shown.low > config.margin
        above = "above" if passes else "not above"
        if part == "gate":
            differences = np.array([pair.ours - pair.theirs for pair in scored])
            passes = passes_gate(differences, config.margin, [pair.source for pair in scored])
            above = f"{'' if passes else 'not '}a standard error above"
        covers = f"{coverage_text(level)} {shown.low:+.1f} to {shown.high:+.1f}"
        text = (
            f"{shown.difference:+.1f} points against {against} ({covers} on {len(scored)} {part} rows"
            f"{whatever_missing(len(rows) - len(scored))}), "
            f"which is {above} the margin of {config.margin:g}; the {len(parts.sealed)} {behind} rows were "
            f"{budget_text(budget.openings)}"
        )
        return Contest(passes, text, shown, level, part, len(scored), budget.openings)

    if parts.gate:
        at_gate = outcome("gate", gate, TAIL)
        if not (at_gate.passes and may_open):
            return at_gate
    elif not may_open:
        return Contest(False, f"the {len(sealed)} test rows are not opened for it")
    opening = budget.open([config.model_dump(mode="json"), sorted(map(_asked, sealed), key=str)])
    return outcome(behind, sealed, opening.level)


def passes_gate(differences: np.ndarray, margin: float, sources: Sources = ()) -> bool:
    """Whether the mean of the differences is GATE_ERRORS standard errors above the margin."""
    sums, sizes = by_source(differences, sources)
    mean = differences.mean()
    apart = sums - mean * (1 if sizes is None else sizes)
    error = (np.square(apart).sum() * sums.size / (sums.size - 1)) ** 0.5 / differences.size
    return bool(mean > margin + GATE_ERRORS * error)


def _asked(pair: Pair) -> list[Any]:
    return [pair.digest, pair.source or "", pair.ours, pair.theirs]
