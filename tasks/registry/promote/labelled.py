"""What people's labels say of a promotion, where the profile requires them.

They are asked first, and their word does not replace that of the scores: a candidate is promoted where both
the scores and what labels make of them are for it. Its mean, corrected, must reach the least score; against a
champion, the interval of the corrected difference must lie above the margin, by rows labelled for both.
"""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from tasks.config import PromoteConfig
from tasks.errors import StageError
from tasks.judge.labels.corrected import Pairs, corrected_difference, corrected_mean
from tasks.judge.labels.stage import Labels, labels_of
from tasks.record.outputs import OUTPUT, fault, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of
from tasks.registry.promote.candidate import Candidate, read_scores

CLASSIFY = "classify"  # the stage whose scores come from its rows' own labels


@dataclass(frozen=True)
class LabelVerdict:
    """Whether labels allow the promotion, and what they say."""

    passes: bool
    text: str


def by_labels(
    config: PromoteConfig, tracking: Tracking, candidate: Candidate, present: ModelVersion | None
) -> LabelVerdict:
    """What the labels of a candidate's responses say of it; that there are none is a verdict, too."""
    least, run = config.require_labels, _pipeline_of(tracking, candidate.made_by)
    ours = candidate.labels
    count = len(ours.given) if ours else 0
    scored = sum(score is not None for score in candidate.scores.values())
    if candidate.made_by.stage == CLASSIFY:
        text = "promote.require_labels is for responses, and a classifier gives none: leave it out"
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
    if present is None:
        passes = mean["estimate"] >= config.min_score
        relation = "reaches" if passes else "is below"
        return LabelVerdict(
            passes,
            f"its mean corrected by people's labels, {mean['estimate']:.1f} (95% {mean['low']:.1f} to "
            f"{mean['high']:.1f}), {relation} the least score {config.min_score:g}",
        )
    return _against(config, tracking, candidate, present, ours)


def _against(
    config: PromoteConfig, tracking: Tracking, candidate: Candidate, present: ModelVersion, ours: Labels
) -> LabelVerdict:
    against = f"version {present.version}"
    if "touchstone.scores" not in present.tags:
        return LabelVerdict(False, f"the champion ({against}) has no scores, and so no labelled responses")
    reference = Reference.model_validate_json(present.tags["touchstone.scores"])
    if lost := fault(tracking, reference):
        return LabelVerdict(False, f"the scores of {against} are lost ({lost})")
    scorer, _, scores = read_scores(fetch(tracking, reference) / OUTPUT)
    if scorer != candidate.scorer:
        return LabelVerdict(False, f"the champion ({against}) was scored by {scorer}")
    theirs = _labels_of_scored(tracking, reference)
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
            f"{present.name}/{present.version} --rows {least}`, and run the profile again",
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
    try:
        responses = input_of(tracking, tracking.client.get_run(scores.run_id), "responses")
    except StageError:  # they are in MLflow no more, and neither are their labels
        return None
    return labels_of(tracking, responses.digest)


def _pipeline_of(tracking: Tracking, scores: Reference) -> str:
    """What `touchstone label` calls the scored responses."""
    run = tracking.client.get_run(scores.run_id)
    return run.data.tags.get("mlflow.parentRunId", scores.run_id)
