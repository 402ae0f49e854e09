"""What the difference of two models' scores on the same rows shows."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean

from tasks.config import CompareConfig
from tasks.judge.compare.pairs import Judged, Pair
from tasks.machine.json_files import Json
from tasks.statistics.comparing import difference_bounds, outcomes, paired_test, smallest_detectable
from tasks.statistics.intervals import Sources
from tasks.statistics.seeds import Scores, difference_of_recipes

Points = Sequence[float | None]


def differences(
    config: CompareConfig, a: Sequence[Judged], b: Sequence[Judged], pairs: Sequence[Pair]
) -> list[Json]:
    """For every scorer that both have, the headline first: A minus B over the same rows; each is by seed."""
    headline = a[0].summary.headline
    names = [entry["scorer"] for entry in a[0].summary.scores if b[0].entry(entry["scorer"])]
    ordered = sorted(names, key=lambda scorer: scorer != headline)
    return [_difference(config, scorer, a, b, pairs) for scorer in ordered]


def points_of(scorer: str, judged: Judged, ids: Sequence[int]) -> list[float | None]:
    return [judged.lines[row][scorer] for row in ids]


def _difference(
    config: CompareConfig, scorer: str, a: Sequence[Judged], b: Sequence[Judged], pairs: Sequence[Pair]
) -> Json:
    ours = [points_of(scorer, own, [pair.a.id for pair in pairs]) for own in a]
    theirs = [points_of(scorer, own, [pair.b.id for pair in pairs]) for own in b]
    entries = [entry for own in (*a, *b) if (entry := own.entry(scorer))]
    status = next((entry["status"] for entry in entries if entry["status"] != "ok"), "ok")
    found = {"scorer": scorer, "kind": entries[0]["kind"]}
    if len(a) == len(b) == 1:
        return found | shown_by(config, ours[0], theirs[0], status, sources_of(pairs))
    return found | shown_over_seeds(config, ours, theirs, status, sources_of(pairs))


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
        "seeds": {"a": 1, "b": 1, "sd_a": None, "sd_b": None, "rows_low": None, "rows_high": None},
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


def shown_over_seeds(
    config: CompareConfig, ours: Scores, theirs: Scores, status: str, sources: Sources
) -> Json:
    """The same of points by seed, then by row: rows are paired, seeds are not.

    A row is scored where every seed has a score; it is won or lost by the means over the seeds.
    """
    low, high = difference_bounds(_flat(ours, theirs), _flat(theirs, ours))
    found = difference_of_recipes(ours, theirs, sources) if status == "ok" else None
    names = ("sd_a", "sd_b", "rows_low", "rows_high")
    told = asdict(found) if found else dict.fromkeys(names)
    rows = list(zip(_by_row(ours), _by_row(theirs), strict=True))
    both = [fmean(own) - fmean(other) for own, other in rows if None not in (*own, *other)]
    known = {
        "status": status,
        "seeds": {"a": len(ours), "b": len(theirs)} | {name: told[name] for name in names},
        "rows": len(rows),
        "scored": len(both),
        "missing_a": sum(None in own for own, _ in rows),
        "missing_b": sum(None in other for _, other in rows),
        "lowest_possible": low,
        "highest_possible": high,
        "smallest_detectable": None,
    }
    if found is None:
        return known | dict.fromkeys(("difference", "low", "high", "p", "wins", "ties", "losses"))
    shown = {name: told[name] for name in ("difference", "low", "high", "p")}
    return known | shown | asdict(outcomes(both, config.tie))


def _by_row(points: Scores) -> list[tuple[float | None, ...]]:
    return list(zip(*points, strict=True))


def _flat(points: Scores, others: Scores) -> list[float | None]:
    """All points of every seed, as often as the others have seeds, so that the two are of one length."""
    return [one for own in points for one in own] * len(others)
