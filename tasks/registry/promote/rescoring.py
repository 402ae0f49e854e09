"""Meeting the champion: its scores under a candidate's conditions, or what is needed to make them anew.

Scores are compared that came about alike (conditions.py). Where the test rows, the judge, the decoding or a
stage have changed since the champion was promoted, its model answers and is judged anew, under the
candidate's conditions; both its scores at promotion and those of later judgings stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from tasks.errors import StageError
from tasks.record.outputs import OUTPUT, fault, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of
from tasks.registry.promote.conditions import conditions_of, unlike
from tasks.registry.resolve import intact
from tasks.registry.versions import DECISION, MODEL, SCORES, UNDER, versions_of

LATER = "touchstone.scores.later."  # begins the tags of a version that name later scores: .<key>
MET = "touchstone.champion_scores"  # tag of a version: the champion's scores that were made for it


@dataclass(frozen=True)
class Scorable:
    """What a champion's scores can be made of anew."""

    model: Reference
    base: Reference | None
    """Of adapters alone, the model that they were trained on."""
    template: str | None
    """That it was trained in; None of a classifier."""


def why_not_its_own(tracking: Tracking, champion: ModelVersion, scores: Reference, rows: str) -> str | None:
    """Why a candidate's `scores` of `rows` cannot be compared with those that the champion was promoted by.

    None where they can.
    """
    if SCORES not in champion.tags:
        return "it was registered without scores"
    own = Reference.model_validate_json(champion.tags[SCORES])
    if lost := fault(tracking, own):
        return f"its scores are lost ({lost})"
    try:
        return _difference(tracking, scores, rows, own, champion.tags["touchstone.rows"])
    except StageError as error:
        return f"how its scores came about is not known: {error}"


def later_scores(
    tracking: Tracking, champion: ModelVersion, scores: Reference, rows: str
) -> Reference | None:
    """Those of the champion's later scores that a candidate's can be compared with, if any."""
    for found in _later(champion):
        if fault(tracking, found) is None and not why_not_these(tracking, champion, scores, rows, found):
            return found
    return None


def why_not_these(
    tracking: Tracking, champion: ModelVersion, scores: Reference, rows: str, theirs: Reference
) -> str | None:
    """Why a candidate's `scores` of `rows` cannot be compared with `theirs`, if these are the champion's at
    all; None where they can.
    """
    try:
        run = tracking.client.get_run(theirs.run_id)
        if theirs.stage == "judge":
            run = tracking.client.get_run(input_of(tracking, run, "responses").run_id)
        if input_of(tracking, run, "model").digest != _model_of(champion).digest:
            return "another model has become champion meanwhile"
        return _difference(tracking, scores, rows, theirs, input_of(tracking, run, "rows").digest)
    except StageError as error:
        return f"how its scores came about is not known: {error}"


def _difference(
    tracking: Tracking, ours: Reference, rows: str, theirs: Reference, their_rows: str
) -> str | None:
    found = unlike(conditions_of(tracking, ours, rows), conditions_of(tracking, theirs, their_rows))
    return f"its scores came about under other conditions ({'; '.join(found)})" if found else None


def scorable(tracking: Tracking, champion: ModelVersion, scores: Reference) -> Scorable:
    """What is needed to score the champion as the model of `scores` was.

    Raises StageError where its model or its template is gone, or it is a model of another kind.
    """
    from tasks.models.loading import ADAPTER
    from tasks.models.summary import ModelSummary

    model = intact(tracking, _model_of(champion))
    folder = fetch(tracking, model) / OUTPUT
    summary = ModelSummary.read(folder)
    if summary.classifies != (scores.stage == "classify"):
        raise StageError(f"it is {'a' if summary.classifies else 'no'} classifier")
    template = None if summary.classifies else summary.template
    base = None
    if (folder / "model" / ADAPTER).exists():
        if UNDER not in champion.tags:
            raise StageError("it is adapters alone, and does not say of which model")
        base = intact(tracking, Reference.model_validate_json(champion.tags[UNDER]))
    return Scorable(model, base, template)


def _model_of(champion: ModelVersion) -> Reference:
    if MODEL not in champion.tags:
        raise StageError("it does not say which files its model is")
    return Reference.model_validate_json(champion.tags[MODEL])


def keep_later(tracking: Tracking, name: str, version: int, scores: Reference) -> None:
    """Name on a version scores that its responses were given later; the same judging takes one place."""
    tag = f"{LATER}{scores.key[:16]}"
    tracking.client.set_model_version_tag(name, str(version), tag, scores.model_dump_json())


def _later(champion: ModelVersion) -> list[Reference]:
    tags = champion.tags
    return [Reference.model_validate_json(tags[tag]) for tag in sorted(tags) if tag.startswith(LATER)]


@dataclass(frozen=True)
class Met:
    """What an earlier promotion of the same model met."""

    anew: Reference | None
    """The champion's scores that were made for it; None where its own served, or there was no champion."""
    scores: Reference | None
    """Those that it was compared with; None where there was no champion, or it has none any more."""


def met_before(tracking: Tracking, name: str, model: Reference) -> Iterator[Met]:
    """What earlier promotions of the same model met, the newest first."""
    versions = versions_of(tracking, name)
    own = {f"version {one.version}": one.tags[SCORES] for one in versions if SCORES in one.tags}
    for version in reversed(versions):
        if MODEL not in version.tags or _model_of(version).digest != model.digest:
            continue
        anew = version.tags.get(MET)
        scores = anew or own.get(version.tags.get(f"{DECISION}.against"))
        yield Met(*(Reference.model_validate_json(one) if one else None for one in (anew, scores)))


def responses_of(tracking: Tracking, scores: Reference) -> Reference | None:
    """The responses that were scored; None of a classifier's scores, and where they are not in MLflow."""
    try:
        return input_of(tracking, tracking.client.get_run(scores.run_id), "responses")
    except StageError:
        return None
