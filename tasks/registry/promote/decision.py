"""Deciding whether a candidate becomes the champion, in numbers and in words."""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from tasks.config import PromoteConfig
from tasks.errors import StageError
from tasks.record.outputs import OUTPUT, fault, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.champions import succession
from tasks.registry.promote.candidate import NOT_NEEDED, Candidate, Scores, judged_by, read_scores
from tasks.registry.promote.conditions import conditions_of, unlike
from tasks.show.text import whatever_missing
from tasks.statistics.comparing import paired_test


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes the champion, and why; points are of 100, the interval is the 95% one."""

    champion: bool
    reason: str
    scorer: str
    mean: float | None
    min_score: float
    """The mean that a first champion needs."""
    margin: float
    """The points that the interval against a champion must lie above."""
    preflight: str
    audit: str
    against: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Found:
    """What the scores alone say."""

    passes: bool
    text: str
    against: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def decide(
    config: PromoteConfig, tracking: Tracking, candidate: Candidate, present: ModelVersion | None
) -> Decision:
    """Compare the candidate with the present champion, if any, and look at what stands behind its scores.

    Scores that stand against an audit are not compared; a training that went on against a failed proof is
    compared all the same, and makes no champion.
    """
    against = None if present is None else f"version {present.version}"
    found = _unbelieved(candidate, against) or _by_scores(config, tracking, candidate, present)
    champion = found.passes and not candidate.failed_proofs
    if champion:
        audit = (
            "no audit needed (metrics alone)" if candidate.audit == NOT_NEEDED else f"audit {candidate.audit}"
        )
        title = "the first champion" if present is None else "champion"
        reason = f"{title}: {found.text}; preflight passed, {audit}"
    elif candidate.failed_proofs:
        failed = "; ".join(candidate.failed_proofs)
        reason = f"kept as candidate: training went on against failed proofs ({failed}); "
        reason += f"by its scores: {found.text}"
    else:
        reason = f"kept as candidate: {found.text}"
    return Decision(
        champion,
        reason,
        scorer=candidate.scorer,
        mean=candidate.entry["mean"],
        min_score=config.min_score,
        margin=config.margin,
        preflight=candidate.preflight,
        audit=candidate.audit,
        against=found.against,
        difference=found.difference,
        low=found.low,
        high=found.high,
    )


def _unbelieved(candidate: Candidate, against: str | None) -> _Found | None:
    """That nothing is compared, where the scores cannot be believed or are not there."""
    if candidate.audit.startswith("failed: "):
        return _Found(False, candidate.audit.removeprefix("failed: "), against)
    if candidate.entry["mean"] is None:
        return _Found(False, f"{candidate.scorer} left too many rows without a score", against)
    return None


def _by_scores(
    config: PromoteConfig, tracking: Tracking, candidate: Candidate, present: ModelVersion | None
) -> _Found:
    if present is None:
        mean = candidate.entry["mean"]
        passes = mean >= config.min_score
        relation = "reaches" if passes else "is below"
        return _Found(passes, f"its mean {mean:.1f} {relation} the least score {config.min_score:g}")
    against = f"version {present.version}"
    theirs = _scores_of(tracking, candidate, present)
    if isinstance(theirs, str):
        return _Found(False, theirs, against)
    return _by_difference(config, candidate, theirs, against, _standing(tracking, present))


def _by_difference(
    config: PromoteConfig, candidate: Candidate, theirs: Scores, against: str, standing: str
) -> _Found:
    """What the paired scores show; missing ones count as the worst for the candidate."""
    ours = list(candidate.scores.values())
    other = [theirs.get(row) for row in candidate.scores]
    scored = sum(None not in pair for pair in zip(ours, other, strict=True))
    if scored < config.min_rows:
        text = f"{scored} rows have a score of both it and {against}; a comparison needs {config.min_rows}"
        return _Found(False, text, against)
    test = paired_test(ours, other, [candidate.sources[row] for row in candidate.scores])
    better = test.low > config.margin
    missing = len(ours) - scored
    text = (
        f"{test.difference:+.1f} points against {against} (95% {test.low:+.1f} to {test.high:+.1f}"
        f"{whatever_missing(missing)}), "
        f"which is {'above' if better else 'not above'} the margin of {config.margin:g}"
    )
    return _Found(better, text + standing, against, test.difference, test.low, test.high)


def _scores_of(tracking: Tracking, candidate: Candidate, present: ModelVersion) -> Scores | str:
    """The champion's score of each row, or why they are not to be compared with."""
    tags, against = present.tags, f"version {present.version}"
    if tags.get("touchstone.scorer") != candidate.scorer or tags.get("touchstone.rows") != candidate.rows:
        return f"the champion ({against}) was scored on other rows or by another scorer"
    reference = Reference.model_validate_json(tags["touchstone.scores"])
    if lost := fault(tracking, reference):
        return f"the scores of {against} are lost ({lost})"
    folder = fetch(tracking, reference) / OUTPUT
    if judged_by(folder) != candidate.judges:
        return (
            f"the champion ({against}) was scored by another model behind {candidate.scorer}, or by another "
            "prompt"
        )
    try:
        made, now = conditions_of(tracking, reference), conditions_of(tracking, candidate.made_by)
    except StageError as error:
        return f"how the scores of {against} came about is not known: {error}"
    if different := unlike(now, made):
        return f"the champion ({against}) was scored under other conditions ({'; '.join(different)})"
    return read_scores(folder)[2]


def _standing(tracking: Tracking, present: ModelVersion) -> str:
    """How the champion became it, where that was not by its own scores."""
    line = succession(tracking, present.name)
    turn = line[-1] if line else None
    if turn is None or turn.how not in ("override", "rollback"):
        return ""
    return f"; {present.name} version {present.version} is {turn.told()}"
