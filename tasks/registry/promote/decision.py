"""Deciding whether a candidate becomes the champion, in numbers and in words."""

from dataclasses import dataclass

import numpy as np
from mlflow.entities.model_registry import ModelVersion

from tasks.config import PromoteConfig, parts_of
from tasks.errors import StageError
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.champions import champion_history
from tasks.registry.promote.candidate import (
    NOT_NEEDED,
    WARNED,
    Candidate,
    ChampionScores,
    read_scores,
)
from tasks.registry.promote.contest import TWO, Pair, TestPart, contest
from tasks.registry.promote.labelled import by_labels
from tasks.registry.promote.leaks import leaked_rows
from tasks.registry.promote.openings import Budget
from tasks.registry.promote.parts import Parts, cut
from tasks.registry.promote.rescoring import SCORES, scorable, why_not_its_own, why_not_these
from tasks.registry.versions import MODEL
from tasks.statistics.bounded import mean_interval
from tasks.statistics.comparing import Paired
from tasks.statistics.spending import left_after


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes the champion, and why; points are of 100."""

    champion: bool
    reason: str
    scorer: str
    mean: float | None
    """Over the whole test split."""
    min_score: float
    """The mean that a first champion needs."""
    margin: float
    """The points that the interval against a champion must lie above."""
    preflight: str
    audit: str
    against: str | None = None
    anew: str | None = None
    """Why the champion's scores are not those that it was promoted by."""
    leaked: int = 0
    """Test rows that one of the two was trained on, which are left out of the comparison."""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """The one-sided level of each end of the interval."""
    part: TestPart | None = None
    """The rows that it was decided by, the last that it met."""
    part_rows: int | None = None
    sealed_mean: float | None = None
    """Of a champion by its scores: the headline, over the rows that did not choose it; None uncut."""
    sealed_low: float | None = None
    sealed_high: float | None = None
    openings: int | None = None
    """How often the sealed rows were opened, this time included."""
    budget_left: float | None = None
    """The chance of a false champion that is left for later openings."""
    labels: str | None = None
    """What people's labels say, where the profile requires them."""


@dataclass(frozen=True)
class _Found:
    """What the scores alone say."""

    passes: bool
    text: str
    against: str | None = None
    shown: Paired | None = None
    level: float | None = None
    part: TestPart | None = None
    part_rows: int | None = None
    sealed: tuple[float, float, float] | None = None
    openings: int | None = None
    anew: str | None = None
    leaked: int = 0


def decide(
    config: PromoteConfig, tracking: Tracking, candidate: Candidate, present: ModelVersion | None
) -> Decision:
    """Compare the candidate with the present champion, if any, and look at what stands behind its scores.

    Scores that stand against an audit are not compared. A training that went on against a failed check is
    compared at the gate all the same; it makes no champion, so no sealed row is opened for it. Nor is one for
    scores of a judge whose audit warned, unless the configuration accepts that, and for those on a criterion
    that no audit can show to be wrong.
    """
    against = None if present is None else f"version {present.version}"
    found, said, theirs = _not_eligible(config, against) or _unbelieved(candidate, against), None, None
    if found is None and present is not None:
        theirs = _scores_of(tracking, candidate, present)
        found = _Found(False, theirs, against) if isinstance(theirs, str) else None
    if found is None and config.require_labels:
        said = by_labels(config, tracking, candidate, present, theirs)
        anew = theirs.anew if theirs else None
        found = None if said.passes else _Found(False, said.text, against, anew=anew)
    warned = candidate.audit.startswith(WARNED) and not config.accept_warned_judge
    held_back = bool(candidate.failed_checks or warned or candidate.unfalsifiable)
    found = found or _by_scores(config, tracking, candidate, present, theirs, may_open=not held_back)
    champion = found.passes and not held_back
    if champion:
        audit = (
            "no audit needed (metrics alone)" if candidate.audit == NOT_NEEDED else f"audit {candidate.audit}"
        )
        audit += f"; {said.text}" if said else ""
        title = "the first champion" if present is None else "champion"
        reason = f"{title}: {found.text}; preflight passed, {audit}"
    elif candidate.failed_checks:
        failed = "; ".join(candidate.failed_checks)
        reason = f"kept as candidate: training went on against failed checks ({failed}); "
        reason += f"by its scores: {found.text}"
    elif candidate.unfalsifiable:
        names = " and ".join(candidate.unfalsifiable)
        reason = (
            f"kept as candidate: no reference is shown for {names}, so that no audit can show its judge "
            "wrong, and people's labels are of what the reference says: promote it by hand (touchstone "
            f"promote), or set promote.criterion to one with a reference; by its scores: {found.text}"
        )
    elif warned:
        reason = (
            f"kept as candidate: the audit of {candidate.audit.removeprefix(WARNED)} passed with warnings, "
            f"which promote.accept_warned_judge=true accepts; by its scores: {found.text}"
        )
    else:
        reason = f"kept as candidate: {found.text}"
    difference, low, high = (
        (found.shown.difference, found.shown.low, found.shown.high) if found.shown else (None,) * 3
    )
    sealed_mean, sealed_low, sealed_high = (champion and found.sealed) or (None,) * 3
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
        anew=found.anew,
        leaked=found.leaked,
        difference=difference,
        low=low,
        high=high,
        level=found.level,
        part=found.part,
        part_rows=found.part_rows,
        sealed_mean=sealed_mean,
        sealed_low=sealed_low,
        sealed_high=sealed_high,
        openings=found.openings,
        budget_left=None if found.openings is None else left_after(found.openings),
        labels=said.text if said else None,
    )


def _not_eligible(config: PromoteConfig, against: str | None) -> _Found | None:
    """That nothing is compared of a model that is a further seed of a recipe, or set aside by its profile."""
    if config.eligible:
        return None
    text = (
        "promote.eligible is false: of several seeds the first, fixed before any was scored, stands for them"
    )
    return _Found(False, text, against)


def _unbelieved(candidate: Candidate, against: str | None) -> _Found | None:
    """That nothing is compared, where the scores cannot be believed or are not there."""
    if candidate.audit.startswith("failed: "):
        return _Found(False, candidate.audit.removeprefix("failed: "), against)
    if candidate.entry["mean"] is None:
        return _Found(False, f"{candidate.scorer} left too many rows without a score", against)
    return None


def _by_scores(
    config: PromoteConfig,
    tracking: Tracking,
    candidate: Candidate,
    present: ModelVersion | None,
    theirs: ChampionScores | None,
    *,
    may_open: bool,
) -> _Found:
    parts = cut(candidate.digests, candidate.sources, max(config.min_rows, TWO))
    budget = Budget(tracking, config.name, candidate.scorer, candidate.digests.values())
    if present is None or theirs is None:
        return _first(config, candidate, parts, budget.openings)
    against = f"version {present.version}"
    try:
        leaked = _leaked(tracking, candidate, present)
    except StageError as error:
        text = f"it cannot be told whether the test rows are new to it and to {against}: {error}"
        return _Found(False, text, against, anew=theirs.anew)
    parts = Parts(parts.gate - leaked, parts.sealed - leaked)
    pairs = {
        row: Pair(score, theirs.scores.get(row), candidate.sources[row], candidate.digests[row])
        for row, score in candidate.scores.items()
    }
    met = contest(config, pairs, parts, budget, against, may_open)
    text = met.text
    if theirs.anew:
        text += f"; champion scored anew because {theirs.anew}"
    if leaked:
        text += f"; {len(leaked)} test rows are left out, which {against} or the candidate was trained on"
    return _Found(
        met.passes,
        text + _standing(tracking, present),
        against,
        met.shown,
        met.level,
        met.part,
        met.rows,
        _headline(candidate, parts),
        met.openings,
        theirs.anew,
        len(leaked),
    )


def _first(config: PromoteConfig, candidate: Candidate, parts: Parts, openings: int) -> _Found:
    """The gate alone is asked for the minimum score, so that the headline is of rows that chose nothing."""
    part: TestPart = "gate" if parts.gate else "test"
    rows = parts.gate or parts.sealed
    scores = [score for row in rows if (score := candidate.scores[row]) is not None]
    if not scores:
        return _Found(False, f"none of the {len(rows)} {part} rows has a score", openings=openings)
    mean = float(np.mean(scores)) if parts.gate else candidate.entry["mean"]
    passes = mean >= config.min_score
    relation = "reaches" if passes else "is below"
    where = f" on {len(scores)} gate rows" if parts.gate else ""
    text = f"its mean {mean:.1f}{where} {relation} the minimum score {config.min_score:g}"
    sealed = _headline(candidate, parts)
    return _Found(passes, text, part=part, part_rows=len(scores), sealed=sealed, openings=openings)


def _headline(candidate: Candidate, parts: Parts) -> tuple[float, float, float] | None:
    """Mean and 95% interval over the sealed rows that have a score; None where there are none, or no gate."""
    rows = [row for row in parts.sealed if candidate.scores[row] is not None] if parts.gate else []
    if not rows:
        return None
    values = [candidate.scores[row] for row in sorted(rows)]
    sources = [candidate.sources[row] for row in sorted(rows)]
    return mean_interval(values, 0.0, 100.0, sources)


def _scores_of(tracking: Tracking, candidate: Candidate, present: ModelVersion) -> ChampionScores | str:
    """The champion's scores under the candidate's conditions, or why there are none."""
    made_by, rows, given = candidate.made_by, candidate.rows, candidate.champion
    reason = why_not_its_own(tracking, present, made_by, rows)
    if reason is None:
        own = Reference.model_validate_json(present.tags[SCORES])
        return _scores_in(tracking, own, candidate)
    refused = f"not compared with the champion (version {present.version}): {reason}"
    if given is not None:
        if unfit := why_not_these(tracking, present, made_by, rows, given):
            return f"{refused}; and it was not scored anew: {unfit}. Run again with --refresh promote"
        return _scores_in(tracking, given, candidate, reason)
    try:
        scorable(tracking, present, made_by)
    except StageError as error:
        return f"{refused}; and it cannot be scored anew: {error}"
    return f"{refused}; and it was not scored anew. Run its profile again with --refresh promote"


def _scores_in(
    tracking: Tracking, scores: Reference, candidate: Candidate, anew: str | None = None
) -> ChampionScores:
    """The scores in an output by what the candidate is decided by."""
    _, criterion = parts_of(candidate.scorer)
    return ChampionScores(read_scores(fetch(tracking, scores) / OUTPUT, criterion)[2], scores, anew)


def _leaked(tracking: Tracking, candidate: Candidate, present: ModelVersion) -> frozenset[int]:
    """Test rows that the candidate or the champion learned.

    Raises StageError where that is not known.
    """
    models = [candidate.model]
    if MODEL in present.tags:
        models.append(Reference.model_validate_json(present.tags[MODEL]))
    found = [leaked_rows(tracking, model, candidate.tested, candidate.rows) for model in models]
    return frozenset().union(*found)


def _standing(tracking: Tracking, present: ModelVersion) -> str:
    """How the champion became it, where that was not by its own scores."""
    line = champion_history(tracking, present.name)
    turn = line[-1] if line else None
    if turn is None or turn.how not in ("override", "rollback"):
        return ""
    return f"; {present.name} version {present.version} is {turn.told()}"
