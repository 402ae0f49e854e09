"""Which runs stay, and why: what is kept, and everything that it was made from.

A run leads to others by its tags: a pipeline's to the stages that it found or made, that of several seeds to
each seed's, a stage's by the digests of its inputs to what made these. A version leads to the run that
registered it and to the references among its tags.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from flows.dispatch.history import PROFILE
from flows.dispatch.runs import CHOSEN, KIND, PIPELINE, SEED, SERIES, SWEEP, TRIAL, TRIALS
from tasks.judge.labels.store import OF, SET
from tasks.judge.votes.store import VOTES
from tasks.record.stage import MADE_BY
from tasks.registry.lineage import DATASET
from tasks.registry.versions import KEY

STAGE, DIGEST, PARENT = "touchstone.stage", "touchstone.digest", "mlflow.parentRunId"
KEEP = "touchstone.keep"  # tag by which a person keeps a run, whatever its value
REGISTERED = "of registered models"
RESPONSES = "touchstone.responses"  # of a set of labels: the run that made what is labelled


@dataclass(frozen=True)
class Rule:
    """What is kept for its own sake."""

    since: datetime
    """Runs that began then or later."""
    newest: int
    """The newest finished runs of each profile, and the newest versions of each model."""
    all_versions: bool = True
    """Whether versions stay that nobody uses."""


def unused_versions(
    versions: Sequence[ModelVersion], used: Collection[int], rule: Rule
) -> list[ModelVersion]:
    """Of one registered model's: old, not among the newest, registered by a stage, and none of `used`.

    These are the numbers of those that have an alias or were champion once.
    """
    if rule.all_versions:
        return []
    newest_first = sorted(
        filter(_registered_by_stage, versions), key=lambda version: int(version.version), reverse=True
    )
    return [
        version
        for version in newest_first[rule.newest :]
        if int(version.version) not in used and version.creation_timestamp < 1000 * rule.since.timestamp()
    ]


def _registered_by_stage(version: ModelVersion) -> bool:
    """Whether Touchstone made it; a copy has the tags of its original, and was made by a person."""
    return KEY in version.tags and not version.source.startswith("models:/")


def is_ours(run: Run) -> bool:
    """Whether Touchstone made it; others may keep runs in the same experiment."""
    return not run.data.tags.keys().isdisjoint((STAGE, KIND))


def reasons(
    runs: Sequence[Run], versions: Iterable[ModelVersion], rule: Rule, profile: str | None = None
) -> dict[str, str]:
    """Why each run stays, by its id; those that are left out go.

    `runs` are all of the experiment, newest first. With a `profile`, only what its runs made may go.
    """
    known = _Known(runs)
    kept: dict[str, str] = {}
    for run_id, why in (*_of_versions(known, versions), *_of_runs(known, rule, profile)):
        _keep(known, run_id, why, kept)
    return kept


def _of_runs(known: "_Known", rule: Rule, profile: str | None) -> Iterator[tuple[str, str]]:
    since = 1000 * rule.since.timestamp()
    finished: dict[tuple[str, str], int] = defaultdict(int)  # by profile, a sweep apart from its pipelines
    for run_id, run in known.runs.items():
        tags = run.data.tags
        of = tags.get(PROFILE)
        if not is_ours(run):
            yield run_id, "not made by Touchstone"
        elif run.info.status == "RUNNING":
            yield run_id, "running"
        elif KEEP in tags:
            yield run_id, f"with the tag {KEEP}"
        elif tags.get(KIND) == SET:
            yield run_id, "with labels that people gave"
        elif tags.get(KIND) == VOTES:
            yield run_id, "with votes that people gave"
        elif run.info.start_time >= since:
            yield run_id, "recent"
        elif profile is not None and known.profile_of(run_id) != profile:
            yield run_id, "of another profile, or of none"
        elif of is not None and run.info.status == "FINISHED" and tags.get(KIND) != TRIAL:
            kind = (of, tags[KIND] if tags.get(KIND) in (SWEEP, SERIES) else PIPELINE)
            finished[kind] += 1
            if finished[kind] <= rule.newest:
                yield run_id, "among the newest of its profile"


def _of_versions(known: "_Known", versions: Iterable[ModelVersion]) -> Iterator[tuple[str, str]]:
    for version in versions:
        if version.run_id:
            yield version.run_id, REGISTERED
            yield from ((parent, REGISTERED) for parent in known.parents(version.run_id))
        yield from ((run_id, REGISTERED) for value in version.tags.values() for run_id in _referred(value))


def _referred(value: str) -> Iterator[str]:
    """The runs of the references in a tag, at any depth."""
    if '"run_id"' not in value:
        return
    try:
        waiting = [json.loads(value)]
    except ValueError:  # cut by MLflow, or of somebody else
        return
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("run_id"), str):
                yield one["run_id"]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _keep(known: "_Known", run_id: str, why: str, kept: dict[str, str]) -> None:
    """Keep a run and all that it leads to, each with the first reason that is found."""
    waiting = [run_id]
    while waiting:
        one = waiting.pop()
        if one in kept or one not in known.runs:
            continue
        kept[one] = why
        waiting += known.leads_to(known.runs[one])


class _Known:
    """The runs, by what they are looked up by."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = {run.info.run_id: run for run in runs}
        self._profiles = {run_id: run.data.tags.get(PROFILE) for run_id, run in self.runs.items()}
        self._by_digest: dict[str, list[str]] = defaultdict(list)
        self._children: dict[str, list[str]] = defaultdict(list)
        for run_id, run in self.runs.items():
            if digest := run.data.tags.get(DIGEST):
                self._by_digest[digest].append(run_id)
            if parent := run.data.tags.get(PARENT):
                self._children[parent].append(run_id)

    def parents(self, run_id: str) -> Iterator[str]:
        """The runs that it was begun under, from the nearest on."""
        while run_id in self.runs and (parent := self.runs[run_id].data.tags.get(PARENT)):
            yield parent
            run_id = parent

    def profile_of(self, run_id: str) -> str | None:
        """Of a pipeline's run, or of the one that it was begun under."""
        above = (run_id, *self.parents(run_id))
        return next((of for one in above if (of := self._profiles.get(one))), None)

    def leads_to(self, run: Run) -> Iterator[str]:
        """What it was made from, and what of it lies in other runs."""
        for tag, value in run.data.tags.items():
            if tag.startswith((MADE_BY, SEED, TRIALS)) or tag in (RESPONSES, CHOSEN):
                yield value
            elif tag.startswith(DATASET) or tag == OF:
                yield from self._by_digest.get(value, ())
        if KIND in run.data.tags:
            yield from self._children.get(run.info.run_id, ())
