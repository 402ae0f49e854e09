"""The pipeline runs that there were, as `touchstone runs` lists them. Prefect is not needed for it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow.artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch.names import SHOWN
from flows.dispatch.runs import KIND, SUMMARY
from tasks.errors import UsageError
from tasks.record.run_lifecycle import ERROR
from tasks.record.tracking import Tracking, local_folder, raise_if_away

PROFILE = "touchstone.profile"
STATES = {"RUNNING": "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}
REFUSED = "refused"
NAMED_STATES = (*STATES.values(), REFUSED)
UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}  # seconds
PAGE = 50  # runs that MLflow is asked for at once


@dataclass(frozen=True)
class PastRun:
    """One pipeline run."""

    run_id: str
    name: str
    profile: str
    state: str
    error: str | None
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """Until its end, or until now."""
    score: dict[str, Any] | None
    """The last model's by the headline scorer: model, scorer, mean, low, high."""
    model: dict[str, Any] | None
    """The version that it registered: name, version, and whether that is champion."""
    bytes: int | None
    """Of the artifacts that it made on this machine; None where they are kept on a server."""

    @property
    def short_id(self) -> str:
        return self.run_id[:SHOWN]


def past_runs(
    tracking: Tracking, profile: str | None = None, state: str | None = None, since: datetime | None = None
) -> Iterator[PastRun]:
    """Pipeline runs and those of several seeds, newest first."""
    conditions = [f"tags.`{PROFILE}` != ''"]  # which runs of other kinds have not
    if profile is not None:
        if '"' in profile:
            raise UsageError(f"--profile {profile!r}: no profile has such a name")
        conditions.append(f'tags.`{PROFILE}` = "{profile}"')
    if since is not None:
        conditions.append(f"attributes.start_time >= {round(1000 * since.timestamp())}")
    if state is not None:
        status = next((status for status, name in STATES.items() if name == state), "FAILED")
        conditions.append(f"attributes.status = '{status}'")
    token = None
    while True:
        page = tracking.client.search_runs(
            [tracking.experiment_id],
            " AND ".join(conditions),
            order_by=["attributes.start_time DESC"],
            max_results=PAGE,
            page_token=token,
        )
        for run in page:
            found = past_run(tracking, run)
            if state in (None, found.state):
                yield found
        token = page.token
        if not token:
            return


def past_run(tracking: Tracking, run: Run) -> PastRun:
    summary = _summary(run)
    ended = run.info.end_time or 1000 * datetime.now(UTC).timestamp()
    state = STATES.get(run.info.status, run.info.status.lower())
    return PastRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        profile=run.data.tags.get(PROFILE, ""),
        state=REFUSED if summary.get("status") == REFUSED else state,
        error=run.data.tags.get(ERROR),
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        seconds=round((ended - run.info.start_time) / 1000, 1),
        score=_headline(summary),
        model=_model(summary),
        bytes=_bytes_of(tracking, run),
    )


def stages_of(run: Run) -> list[dict[str, Any]]:
    """The stages of a run that came to its end: name, whether it was found, seconds, the stage's run."""
    names = ("name", "cached", "seconds", "run_id")
    return [{name: one[name] for name in names} for one in _summary(run).get("stages", ())]


def parse_since(text: str, now: datetime, option: str = "--since") -> datetime:
    """`30m`, `12h`, `7d`, `2w` before now, or a date: `2026-11-28`, also with a time.

    Raises UsageError for anything else.
    """
    try:
        if found := re.fullmatch(r"(\d{1,6})([mhdw])", text.strip()):
            return now - timedelta(seconds=int(found[1]) * UNITS[found[2]])
        given = datetime.fromisoformat(text.strip())
        return given.astimezone() if given.tzinfo is None else given
    except (ValueError, OverflowError) as error:  # the latter of a time before the year 1
        raise UsageError(
            f"{option} {text!r}: expected a time ago, as 30m, 12h, 7d or 2w, or a date, as 2026-11-28"
        ) from error


def _summary(run: Run) -> Mapping[str, Any]:
    """What the run told at its end; nothing of one that did not come so far."""
    if (folder := local_folder(run.info.artifact_uri)) and not (folder / SUMMARY).is_file():
        return {}
    try:
        return mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{SUMMARY}")
    except MlflowException as error:
        raise_if_away(error)
        return {}


def _headline(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last model's score by what decides; a classifier has one of each model."""
    scores = summary.get("scores") or []
    if not scores:
        return None
    last = [one for one in scores if one["model"] == scores[-1]["model"]]
    decides = next((one for one in last if one["scorer"] == summary.get("headline")), last[0])
    return {name: decides.get(name) for name in ("model", "scorer", "mean", "low", "high")}


def _model(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    model = summary.get("model")
    return model and {name: model[name] for name in ("name", "version", "champion")}


def _bytes_of(tracking: Tracking, run: Run) -> int | None:
    """Of the run's artifacts and those of the stages that were made in it; found ones are another run's."""
    folder = local_folder(run.info.artifact_uri)
    if folder is None:
        return None
    children = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'", max_results=1000
    )
    folders = [local_folder(child.info.artifact_uri) for child in children if KIND not in child.data.tags]
    return sum(size_of(one) for one in (folder, *folders) if one is not None)


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
