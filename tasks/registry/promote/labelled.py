"""What people's labels say of a promotion, where the profile requires them.

They are asked first, and their word does not replace that of the scores: a candidate is promoted where both
the scores and what labels make of them are for it. Its mean, corrected, must reach the minimum score;
against a champion, the interval of the corrected difference must lie above the margin, by rows labelled
for both.
"""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from tasks.config import PromoteConfig
from tasks.judge.labels.corrected import Pairs, corrected_difference, corrected_mean
from tasks.judge.labels.stage import Labels, labels_of
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.promote.candidate import Candidate, ChampionScores
from tasks.registry.promote.rescoring import SCORES, responses_of

CLASSIFY = "classify"  # the stage whose scores come from its rows' own labels


@dataclass(frozen=True)
class LabelVerdict:
    """Whether labels allow the promotion, and what they say."""

    passes: bool
    text: str


def by_labels(
    config: PromoteConfig,
    tracking: Tracking,
    candidate: Candidate,
    present: ModelVersion | None,
    champion: ChampionScores | None,
) -> LabelVerdict:
    """What the labels of a candidate's responses say of it; that there are none is a verdict, too.

    `champion` are the scores that it is compared with; None where there is no champion.
    """
    least, run = config.require_labels, _pipeline_of(tracking, candidate.made_by)
    ours = candidate.labels
    count = len(ours.given) if ours else 0
    scored = sum(score is not None for score in candidate.scores.values())
    if candidate.made_by.stage == CLASSIFY:
        text = "promote.require_labels is for responses, and a classifier gives none: leave it out"
        return LabelVerdict(False, text)
    if candidate.criteria:
        text = (
            "promote.require_labels is for scores by the reference, which people's labels are of, and these "
            f"are on {', '.join(candidate.criteria)}: leave it out"
        )
        return LabelVerdict(False, text)
    if least > scored:
        text = f"promote.require_labels asks for {least} labelled rows, and {scored} have a score: lower it"
        return LabelVerdict(False, text)
    if count < least:
        return LabelVerdict(
            False,
            f"people have labelled {count} of its responses, and a promotion needs {least}: label them with "
            f"`touchstone label {run} --rows {least}`, and run the profile again",
        )
    mean = corrected_mean(ours, candidate.scores, candidate.sources)
    if mean["estimate"] is None:
        return LabelVerdict(False, _too_few(mean, run))
    if present is None or champion is None:
        passes = mean["estimate"] >= config.min_score
        relation = "reaches" if passes else "is below"
        return LabelVerdict(
            passes,
            f"its mean corrected by people's labels, {mean['estimate']:.1f} (95% {mean['low']:.1f} to "
            f"{mean['high']:.1f}), {relation} the minimum score {config.min_score:g}",
        )
    return _against(config, tracking, candidate, present, champion, ours)


def _against(
    config: PromoteConfig,
    tracking: Tracking,
    candidate: Candidate,
    present: ModelVersion,
    champion: ChampionScores,
    ours: Labels,
) -> LabelVerdict:
    """By the scores that are compared: those made anew, where there are such, with their own responses."""
    against, scores = f"version {present.version}", champion.scores
    theirs = _labels_of_scored(tracking, champion.made_by)
    rows = list(candidate.scores)
    pairs = Pairs(
        rows,
        rows,
        list(candidate.scores.values()),
        [scores.get(row) for row in rows],
        [candidate.sources[row] for row in rows],
    )
    found = corrected_difference(ours, theirs, pairs)
    if found["labelled"] < config.require_labels or found["estimate"] is None:
        least = max(config.require_labels, found["least"])
        return LabelVerdict(
            False,
            f"people have labelled {found['labelled']} rows for both it and {against}, and a promotion needs "
            f"{least}: label the champion's with `touchstone label "
            f"{_name_of(tracking, present, champion)} --rows {least}`, and run the profile again",
        )
    passes = found["low"] > config.margin
    return LabelVerdict(
        passes,
        f"{found['estimate']:+.1f} points against {against} corrected by {found['labelled']} rows that "
        f"people labelled for both (95% {found['low']:+.1f} to {found['high']:+.1f}), which is "
        f"{'' if passes else 'not '}above the margin of {config.margin:g}",
    )


def _too_few(mean: dict[str, object], run: str) -> str:
    return (
        f"people have labelled {mean['labelled']} of its scored rows, and a correction needs "
        f"{mean['least']}: label more with `touchstone label {run} --rows {mean['least']}`, and run the "
        "profile again"
    )


def _labels_of_scored(tracking: Tracking, scores: Reference) -> Labels | None:
    """The labels of the responses that were scored, as they are now."""
    responses = responses_of(tracking, scores)
    return labels_of(tracking, responses.digest) if responses else None


def _name_of(tracking: Tracking, present: ModelVersion, champion: ChampionScores) -> str:
    """What `touchstone label` calls the champion's responses: its version's own, or those made anew."""
    own = responses_of(tracking, Reference.model_validate_json(present.tags[SCORES]))
    met = responses_of(tracking, champion.made_by)
    if own is None or met is None or own.digest == met.digest:
        return f"{present.name}/{present.version}"
    return f"{_pipeline_of(tracking, champion.made_by)}:champion"


def _pipeline_of(tracking: Tracking, scores: Reference) -> str:
    """What `touchstone label` calls the scored responses."""
    run = tracking.client.get_run(scores.run_id)
    return run.data.tags.get("mlflow.parentRunId", scores.run_id)
