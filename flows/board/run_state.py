"""A run as it is now: its stages in their order, its curves, what its models write, what it says.

All of it is read from MLflow and from files beside it, so a run is found whoever started it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import mlflow.artifacts
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from flows.dispatch.history import PROFILE, STATES
from flows.dispatch.lookup import PLANNED
from flows.dispatch.names import SHOWN
from flows.dispatch.pipeline_run import SETTINGS
from flows.dispatch.progress_tag import ToldProgress, told_progress
from flows.dispatch.runs import KIND, PIPELINE, SEEDS
from flows.pipeline import stages
from flows.plan import KEY, WEIGHTS
from flows.process.detached import LOG_TAG
from flows.profiles.profile import Profile
from flows.server.live_runs import last_lines
from flows.server.servers import logs_folder
from tasks.config import StageConfig
from tasks.errors import UsageError
from tasks.record.outputs import AUXILIARY
from tasks.record.run_lifecycle import ERROR
from tasks.record.stage import CURVES, MADE_BY
from tasks.record.tracking import Tracking, local_folder, raise_if_away
from tasks.record.work import Reference
from tasks.report.curves import LIMIT, OF_REWARDS, QUANTITIES, thin

State = Literal["waiting", "running", "done", "cached", "failed", "interrupted", "not run"]

NEWEST = 50  # runs that are listed
CHILDREN = 1000  # runs of stages that MLflow is asked for at once
TAIL = 16_384  # bytes of a log that are shown
SAMPLES = "samples.txt"  # beside the output of a pretraining
RESPONSES = "responses.json"  # the table of a generation
FIELDS = {
    field: (quantity, split)
    for quantity, fields in (QUANTITIES | OF_REWARDS).items()
    for split, field in fields.items()
}
"""What a metric is of: its quantity, and training or validation."""


@dataclass(frozen=True)
class StageState:
    """One stage of a run."""

    label: str
    state: State
    run_id: str | None = None
    seconds: float | None = None
    """That it took, or has taken until now."""
    progress: ToldProgress | None = None
    error: str = ""


@dataclass(frozen=True)
class Line:
    """One curve: points of (step, mean, lowest, highest), of so many values that were measured."""

    run: str
    """Which run it is of, as lists call it."""
    stage: str
    quantity: str
    split: str
    points: Sequence[Sequence[float]]
    measured: int


def newest_runs(tracking: Tracking) -> list[Run]:
    """The pipeline runs, those of several seeds among them, newest first."""
    return tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{PROFILE}` != ''",
        order_by=["attributes.start_time DESC"],
        max_results=NEWEST,
    )


def state_of(run: Run) -> str:
    """`running`, `finished`, `failed`, `interrupted`."""
    return STATES.get(run.info.status, run.info.status.lower())


def name_of(run: Run) -> str:
    """`quickstart 3f2a9c11`."""
    return f"{run.info.run_name} {run.info.run_id[:SHOWN]}"


def title_of(run: Run) -> str:
    """`quickstart 3f2a9c11, running, 28 Nov 14:02`."""
    begun = datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
    return f"{name_of(run)}, {state_of(run)}, {begun:%d %b %H:%M}"


def seconds_of(run: Run) -> float:
    """That a run took, or has taken until now."""
    return (run.info.end_time or 1000 * datetime.now().timestamp()) / 1000 - run.info.start_time / 1000


# Stages


def stage_states(tracking: Tracking, run: Run) -> list[StageState]:
    """Every stage of a run, those that are still to come too, in the order of the pipeline."""
    made = {child.info.run_name: child for child in _children(tracking, run)}  # of several attempts the last
    linked = {
        tag.removeprefix(MADE_BY): run_id for tag, run_id in run.data.tags.items() if tag.startswith(MADE_BY)
    }
    began = list(dict.fromkeys((*linked, *made)))
    planned = _planned_stages(tracking, run)
    to_come = "waiting" if run.info.status == "RUNNING" else "not run"
    found = []
    for label in (*planned, *(name for name in began if name not in planned)):
        if child := made.get(label):
            found.append(_state_of_stage(label, child))
        elif label in linked:
            found.append(StageState(label, "cached", linked[label]))
        else:
            found.append(StageState(label, to_come))
    return found


def _state_of_stage(label: str, run: Run) -> StageState:
    states: Mapping[str, State] = {"RUNNING": "running", "FINISHED": "done", "KILLED": "interrupted"}
    state = states.get(run.info.status, "failed")
    progress = told_progress(run) if state in ("running", "interrupted") else None
    error = run.data.tags.get(ERROR, "")
    return StageState(label, state, run.info.run_id, seconds_of(run), progress, error)


def _children(tracking: Tracking, run: Run) -> list[Run]:
    """The stages that were begun in a run, or its trainings if it is of several seeds, the oldest first."""
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        order_by=["attributes.start_time ASC"],
        max_results=CHILDREN,
    )
    of_seeds = run.data.tags.get(KIND) == SEEDS
    return [child for child in found if of_seeds or KIND not in child.data.tags]


class _Outline:
    """Takes stages as a pipeline does, and notes what they are called."""

    refresh: Sequence[str] = ()

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.labels: list[str] = []

    def stage(
        self,
        stage: str,
        config: StageConfig,  # noqa: ARG002 - what it would do is not looked at
        label: str | None = None,
        **inputs: Reference | None,  # noqa: ARG002
    ) -> Reference:
        name = label or stage
        self.labels.append(name)
        return Reference(stage=stage, run_id=PLANNED, key=name, digest=f"{PLANNED} {name}", uri=name)


def _planned_stages(tracking: Tracking, run: Run) -> tuple[str, ...]:
    """What a run's stages are called, in their order; nothing where its settings are of another version."""
    if run.data.tags.get(KIND) != PIPELINE:
        return ()
    try:
        return _outlined(tracking, run.info.artifact_uri)
    except (MlflowException, OSError, ValidationError) as error:
        raise_if_away(error)
        return ()  # it has just begun, or is of another version


@lru_cache(maxsize=NEWEST)
def _outlined(tracking: Tracking, artifacts: str) -> tuple[str, ...]:
    outline = _Outline(tracking)
    stages(outline, Profile.model_validate(_settings(artifacts)))
    return tuple(dict.fromkeys(outline.labels))


def _settings(artifacts: str) -> dict[str, Any]:
    return mlflow.artifacts.load_dict(f"{artifacts}/{SETTINGS}")


# Curves


def curves_of(tracking: Tracking, run: Run, states: Sequence[StageState]) -> list[Line]:
    """The curves of every training of a run, those of its earlier attempts included."""
    found = []
    for state in states:
        if state.label not in WEIGHTS or state.run_id is None:
            continue
        stage = tracking.client.get_run(state.run_id)
        found += [
            Line(name_of(run), state.label, *FIELDS[field], thin(points, LIMIT), len(points))
            for field in FIELDS
            if CURVES + field in stage.data.metrics
            for points in (_points(tracking, stage, field),)
        ]
    return found


def _points(tracking: Tracking, stage: Run, field: str) -> list[tuple[int, float]]:
    """A curve's points; a training that was continued goes on from those of its attempts before."""
    attempts = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{KEY}` = '{stage.data.tags[KEY]}' AND attributes.start_time <= {stage.info.start_time}",
        order_by=["attributes.start_time ASC"],
        max_results=CHILDREN,
    )
    found: dict[int, float] = {}
    for attempt in attempts:
        if attempt.info.status == "RUNNING":
            found |= _history(tracking, attempt.info.run_id, field)
        elif attempt.info.status != "FINISHED" or attempt.info.run_id == stage.info.run_id:
            found |= _ended_history(tracking, attempt.info.run_id, field)
    return sorted(found.items())


def _history(tracking: Tracking, run_id: str, field: str) -> dict[int, float]:
    """The values of a curve by their steps."""
    history = tracking.client.get_metric_history(run_id, CURVES + field)
    return {point.step: point.value for point in history}


_ended_history = lru_cache(maxsize=512)(_history)
"""The same of a run that has ended, which is asked for once."""


# What it writes and says


def samples_of(tracking: Tracking, states: Sequence[StageState]) -> str:
    """What the models of a run have written of late: responses to test rows, or texts of its pretraining."""
    for stage in reversed(states):
        if stage.run_id is None:
            continue
        made = tracking.client.get_run(stage.run_id)
        if made.data.tags.get("touchstone.stage") == "generate" and stage.state in ("done", "cached"):
            return f"{stage.label}\n\n{_responses(made)}"
        if made.data.tags.get("touchstone.stage") == "pretrain" and (text := _texts(tracking, made)):
            return f"{stage.label}\n\n{text}"
    return ""


def _texts(tracking: Tracking, stage: Run) -> str:
    """The last texts of a pretraining: of a running one from its folder, if that is on this machine."""
    folders = [tracking.work / stage.data.tags[KEY] / AUXILIARY]
    if folder := local_folder(stage.info.artifact_uri):
        folders.insert(0, folder / AUXILIARY)
    path = next((each / SAMPLES for each in folders if (each / SAMPLES).is_file()), None)
    if path is None:
        return ""
    texts = re.split(r"^(?=--- step )", _tail(path), flags=re.MULTILINE)
    return "\n".join(text.rstrip() for text in reversed(texts) if text.strip())


def _responses(stage: Run, count: int = 5) -> str:
    try:
        table = mlflow.artifacts.load_dict(f"{stage.info.artifact_uri}/{RESPONSES}")
    except (MlflowException, OSError) as error:
        raise_if_away(error)
        return ""
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"][:count]]
    return "\n\n".join(
        "\n".join(f"{name}: {row[name]}" for name in ("instruction", "input", "response") if row.get(name))
        for row in rows
    )


def log_of(run: Run) -> Path | None:
    """Where the output of a run goes; None where a terminal or another machine has it."""
    path = logs_folder() / Path(run.data.tags.get(LOG_TAG, "")).name  # of logs alone, whatever the tag says
    return path if path.is_file() else None


def messages_of(tracking: Tracking, run: Run) -> str:
    """What a run has said, the last line first: by its log here, else by a Prefect server that answers."""
    if path := log_of(run):
        return "\n".join(reversed(_tail(path).splitlines()))
    if lines := last_lines(tracking, run):
        return "\n".join(lines)
    return (
        "Its messages are where it was started, and no Prefect server that answers here has them. What was "
        f"kept of them: touchstone logs {run.info.run_id[:SHOWN]}"
    )


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        text = file.read().decode("utf-8", errors="replace")
    return text if size <= TAIL else text.partition("\n")[2]


def profile_text(run: Run) -> str:
    """The profile of a run as the text of a file: run again, it continues where the run stopped.

    Raises UsageError for a run that keeps none.
    """
    try:
        return yaml.safe_dump(_settings(run.info.artifact_uri), sort_keys=False, allow_unicode=True)
    except (MlflowException, OSError) as error:
        raise UsageError(
            f"run {name_of(run)} does not keep its settings, so only its command continues it"
        ) from error
