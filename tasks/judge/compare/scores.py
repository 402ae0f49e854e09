"""What the difference of two models' scores on the same rows shows."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tasks.config import CompareConfig
from tasks.judge.compare.pairs import Judged, Pair
from tasks.statistics.comparing import difference_bounds, outcomes, paired_test, smallest_detectable
from tasks.statistics.intervals import Sources

Json = dict[str, Any]
Points = Sequence[float | None]


def differences(config: CompareConfig, a: Judged, b: Judged, pairs: Sequence[Pair]) -> list[Json]:
    """For every scorer that both have, the headline first: A minus B over the same rows."""
    headline = a.summary["headline"]
    names = [entry["scorer"] for entry in a.summary["scores"] if b.entry(entry["scorer"])]
    ordered = sorted(names, key=lambda scorer: scorer != headline)
    return [_difference(config, scorer, a, b, pairs) for scorer in ordered]


def points_of(scorer: str, judged: Judged, ids: Sequence[int]) -> list[float | None]:
    return [judged.lines[row][scorer] for row in ids]


def _difference(config: CompareConfig, scorer: str, a: Judged, b: Judged, pairs: Sequence[Pair]) -> Json:
    ours = points_of(scorer, a, [pair.a.id for pair in pairs])
    theirs = points_of(scorer, b, [pair.b.id for pair in pairs])
    entries = [a.entry(scorer), b.entry(scorer)]
    statuses = [entry["status"] for entry in entries if entry]
    status = next((status for status in statuses if status != "ok"), "ok")
    return {"scorer": scorer, "kind": entries[0]["kind"]} | shown_by(
        config, ours, theirs, status, sources_of(pairs)
    )


def sources_of(pairs: Sequence[Pair]) -> list[str | None]:
    return [pair.a.source for pair in pairs]


def shown_by(
    config: CompareConfig, ours: Points, theirs: Points, status: str = "ok", sources: Sources = ()
) -> Json:
    """The statistics of paired points; without a mean to trust on either side there are only the bounds."""
    every = zip(ours, theirs, sources or [None] * len(ours), strict=True)
    both = [(x - y, source) for x, y, source in every if x is not None and y is not None]
    low, high = difference_bounds(ours, theirs)
    known = {
        "status": status,
        "rows": len(ours),
        "scored": len(both),
        "missing_a": sum(score is None for score in ours),
        "missing_b": sum(score is None for score in theirs),
        "lowest_possible": low,
        "highest_possible": high,
    }
    test = paired_test(ours, theirs, sources) if status == "ok" else None
    if test is None:
        nothing = ("difference", "low", "high", "p", "smallest_detectable", "wins", "ties", "losses")
        return known | dict.fromkeys(nothing)
    moved, of = zip(*both, strict=True)
    return known | {
        **asdict(test),
        "smallest_detectable": smallest_detectable(moved, sources=of),
        **asdict(outcomes(moved, config.tie)),
    }
