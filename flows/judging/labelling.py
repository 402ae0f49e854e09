"""What `touchstone label` works on: whose responses are meant, who judged them, and which rows are drawn.

Prefect is not needed for any of it.
"""

import getpass
import os
from dataclasses import dataclass
from typing import Any

from flows.dispatch.names import REPORT, pipeline_run_of, resolve_name
from flows.judging.inputs import outputs_of, outputs_of_version
from tasks.errors import UsageError
from tasks.judge.labels.corrected import corrected_mean
from tasks.judge.labels.sample import Design
from tasks.judge.labels.stage import labels_of
from tasks.judge.labels.store import LabelSet
from tasks.judge.protocol.responses import ResponseRow, read_rows
from tasks.judge.score.outputs import ScoreSummary, read_score_lines
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference

USER = "MLFLOW_TRACKING_USERNAME"


@dataclass(frozen=True)
class Target:
    """What is labelled: a model's responses, and the scores by which rows are drawn."""

    name: str
    responses: Reference
    scores: Reference
    pipeline: str | None
    """The MLflow run that the stages are children of."""
    has_card: bool = False


def target_of(tracking: Tracking, text: str | None) -> Target:
    """What is meant, as `resolve_name` reads it; of a run the last model that was trained.

    Raises UsageError when there is no such thing, or it has no responses.
    """
    found = resolve_name(tracking, text)
    if found.version is not None:
        name, responses, scores = outputs_of_version(tracking, found.version)
        run = pipeline_run_of(tracking, tracking.client.get_run(scores.run_id))
    else:
        name, responses, scores = outputs_of(tracking, found.run, found.model)
        run = found.run
    return Target(name, responses, scores, run.info.run_id, REPORT in run.data.tags)


@dataclass(frozen=True)
class Judged:
    """The rows of a target with one scorer's scores."""

    rows: list[ResponseRow]
    scorer: str
    scores: dict[int, float | None]

    @property
    def sources(self) -> dict[int, str | None]:
        return {row.id: row.source for row in self.rows}


def read_target(tracking: Tracking, target: Target, scorer: str | None = None) -> Judged:
    """Raises UsageError when the scorer gave no scores, or none that count."""
    rows = read_rows(fetch(tracking, target.responses) / OUTPUT)
    folder = fetch(tracking, target.scores) / OUTPUT
    summary = ScoreSummary.read(folder)
    entries = {entry["scorer"]: entry for entry in summary.scores}
    scorer = scorer or summary.headline
    if scorer not in entries:
        raise UsageError(f"{target.name} was not scored by {scorer}; there are {', '.join(entries)}")
    if not entries[scorer]["scored"]:
        raise UsageError(
            f"{scorer} gave {target.name} no scores ({entries[scorer]['status']}): there is nothing to draw "
            "rows by. Name another scorer with --judge"
        )
    return Judged(rows, scorer, {row: line[scorer] for row, line in read_score_lines(folder).items()})


def open_labels(tracking: Tracking, target: Target, judged: Judged, seed: int | None) -> LabelSet:
    """The labels of a target, begun where there are none.

    Raises UsageError for another seed than that by which its rows are drawn.
    """
    begun = 123 if seed is None else seed
    labels = LabelSet.open(
        tracking,
        target.responses,
        target.name,
        lambda: Design.of(judged.rows, judged.scores, judged.scorer, begun),
    )
    if seed not in (None, labels.design.seed):
        raise UsageError(
            f"the rows of {target.name} are drawn by seed {labels.design.seed} since its first labels; leave "
            f"--seed out, or delete MLflow run {labels.run_id} to begin anew without them"
        )
    return labels


def person(by: str | None) -> str:
    """Who labels: as named, else the user of the tracking server, else of this machine."""
    name = (by or os.environ.get(USER) or getpass.getuser()).strip()
    if not name or len(name) > 250:
        raise UsageError(f"--by {name!r:.60}: expected a name of 1 to 250 characters")
    return name


def told(tracking: Tracking, target: Target, judged: Judged) -> dict[str, Any] | None:
    """What the labels say of a target's scores, now; None where there are none."""
    labels = labels_of(tracking, target.responses.digest)
    if labels is None:
        return None
    return _entry(tracking, target, judged) | corrected_mean(labels, judged.scores, judged.sources)


def _entry(tracking: Tracking, target: Target, judged: Judged) -> dict[str, Any]:
    entry = ScoreSummary.read(fetch(tracking, target.scores) / OUTPUT).entry(judged.scorer)
    return {"model": target.name} | {name: entry[name] for name in ("scorer", "kind", "mean")}


def drawn_rows(labels: LabelSet, judged: Judged, count: int) -> list[ResponseRow]:
    """The rows that are asked about, in their order."""
    rows = {row.id: row for row in judged.rows}
    return [rows[row] for row in labels.draw(count)]
