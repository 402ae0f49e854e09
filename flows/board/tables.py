"""The runs and the registered versions as tables that can be sorted: numbers stay numbers.

What a run's model is and what it cost stands on its report card, which a run that did not come so far lacks.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch.history import PastRun, past_runs
from flows.dispatch.names import REPORT, pipeline_run_of
from flows.dispatch.runs import read_output, reference_of
from tasks.errors import StageError
from tasks.judge.score.outputs import ScoreSummary
from tasks.record.tracking import Tracking, raise_if_away
from tasks.record.work import Reference
from tasks.registry.champions import registered
from tasks.registry.document import decision_text
from tasks.registry.versions import SCORES, version_of
from tasks.report.cost_section import total_seconds
from tasks.report.outputs import read_cost, read_report
from tasks.show.text import visible

LISTED = 100  # runs, from the newest on

Row = list[Any]


@dataclass(frozen=True)
class Column:
    """Of a table: its heading, its width in pixels, and whether it holds numbers or texts."""

    name: str
    width: int
    kind: str = "str"


MEASURED = (
    Column("weights", 84, "number"),
    Column("score", 62, "number"),
    Column("low", 62, "number"),
    Column("high", 62, "number"),
    Column("scorer", 110),
)
"""Of a model, in both tables."""

RUN_COLUMNS = (
    Column("run", 90),
    Column("profile", 116),
    Column("state", 92),
    Column("started", 140),
    *MEASURED,
    Column("model", 190),
    Column("champion", 88),
    Column("seconds", 78, "number"),
)
VERSION_COLUMNS = (
    Column("version", 190),
    Column("champion", 88),
    Column("profile", 116),
    *MEASURED,
    Column("seconds", 78, "number"),
    Column("decision", 420),
    Column("created", 140),
)


@dataclass
class _Facts:
    """What report cards say of their runs, each read once."""

    tracking: Tracking
    _known: dict[str, tuple[int | None, float | None]] = field(default_factory=dict)

    def of(self, run: Run) -> tuple[int | None, float | None]:
        """How many weights the model has, and the seconds that all of its stages took when they ran."""
        run_id = run.info.run_id
        if run_id not in self._known:
            self._known[run_id] = self._read(run)
        return self._known[run_id]

    def _read(self, run: Run) -> tuple[int | None, float | None]:
        made_in = run.data.tags.get(REPORT)
        if made_in is None:
            return None, None
        try:
            reference = reference_of(self.tracking, made_in)
            report = read_output(self.tracking, reference, read_report)
            seconds = total_seconds(read_cost(reference)["stages"])
        except (StageError, MlflowException, OSError) as error:
            raise_if_away(error)
            return None, None  # a card that is gone or altered leaves cells empty
        return report.get("model", {}).get("parameters"), seconds


def run_rows(tracking: Tracking) -> list[Row]:
    """The pipeline runs, newest first, as `RUN_COLUMNS` says."""
    facts = _Facts(tracking)
    return [_run_row(tracking, facts, run) for run in islice(past_runs(tracking), LISTED)]


def _run_row(tracking: Tracking, facts: _Facts, run: PastRun) -> Row:
    weights, seconds = facts.of(tracking.client.get_run(run.run_id))
    score = run.score or {}
    model = run.model or {}
    return [
        run.short_id,
        visible(run.name),
        run.state,
        run.started[:16].replace("T", " "),
        weights,
        *(_tenths(score.get(name)) for name in ("mean", "low", "high")),
        visible(score.get("scorer", "")),
        visible(f"{model['name']}/{model['version']}") if model else "",
        "champion" if model.get("champion") else "",
        _tenths(run.seconds if seconds is None else seconds),
    ]


def version_rows(tracking: Tracking) -> list[Row]:
    """Every version of every registered model, the newest of each first, as `VERSION_COLUMNS` says."""
    facts = _Facts(tracking)
    return [
        _version_row(tracking, facts, model, version)
        for model in registered(tracking)
        for version in reversed(model["versions"])
    ]


def _version_row(tracking: Tracking, facts: _Facts, model: dict[str, Any], version: dict[str, Any]) -> Row:
    run = _pipeline_of(tracking, version["run_id"])
    weights, seconds = facts.of(run) if run else (None, None)
    low, high = _interval(tracking, model["name"], version)
    return [
        visible(f"{model['name']}/{version['version']}"),
        "champion" if version["version"] == model["champion"] else "",
        visible(run.data.tags.get("touchstone.profile", "")) if run else "",
        weights,
        _tenths(version["mean"]),
        _tenths(low),
        _tenths(high),
        visible(version["scorer"] or ""),
        _tenths(seconds),
        visible(decision_text(version)),
        version["created"][:16].replace("T", " "),
    ]


def _pipeline_of(tracking: Tracking, run_id: str | None) -> Run | None:
    """The pipeline's run that registered a version; None of one of another tool, or whose run is gone."""
    if not run_id:
        return None
    try:
        return pipeline_run_of(tracking, tracking.client.get_run(run_id))
    except MlflowException as error:
        raise_if_away(error)
        return None


def _interval(tracking: Tracking, name: str, version: dict[str, Any]) -> tuple[float | None, float | None]:
    """The 95% interval of the mean that a version was registered with, where its scores are still there."""
    found = version_of(tracking, name, version["version"])
    made = found.tags.get(SCORES) if found else None
    if made is None or version["scorer"] is None:
        return None, None
    try:
        summary = read_output(tracking, Reference.model_validate_json(made), ScoreSummary.read)
    except (StageError, MlflowException) as error:
        raise_if_away(error)
        return None, None
    entry = summary.entry(version["scorer"])
    return (entry["low"], entry["high"]) if entry else (None, None)


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
