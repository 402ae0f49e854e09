"""By which score a promotion decides where a judge scores by criteria, and which of them no audit holds."""

from collections.abc import Iterable

from tasks.config import on
from tasks.errors import StageError
from tasks.judge.score.outputs import ScoreSummary
from tasks.machine.json_files import Json


def deciding_scorer(summary: ScoreSummary, criterion: str | None) -> str:
    """The headline, whose scores are the overall ones, or the headline on one criterion.

    Raises StageError when the scores are on other criteria.
    """
    scorer = on(summary.headline, criterion)
    if summary.entry(scorer) is None:
        known = ", ".join(summary.criteria) or "none"
        raise StageError(
            f"promote.criterion is {criterion}, and the scores are on these criteria: {known}. Judge by it "
            "(judge.criteria), or leave promote.criterion out"
        )
    return scorer


def unfalsifiable(judges: Iterable[Json]) -> tuple[str, ...]:
    """The criteria that no audit can show a judge to be wrong about."""
    names = (judge["criterion"] for judge in judges if judge["audit"] and not judge["audit"]["falsifiable"])
    return tuple(dict.fromkeys(names))
