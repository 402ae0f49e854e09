"""What a person names on the command line: a run, a model of one, a registered model, a version.

Every command that takes a run or a model takes all of these, and each has one spelling:

    @latest         the newest run
    quickstart      the newest run of that profile, or of that name
    3f2a9c11        a run by its id, or by the beginning of it that no other run shares
    3f2a:base       a model of a run, where the command is about one; likewise @latest:base, quickstart:base
    NAME            a registered model: its champion, else its newest version
    NAME@champion   the version that holds an alias
    NAME/3          a version
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from flows.dispatch.runs import CHOSEN, KIND, PIPELINE, SEEDS, SERIES, SWEEP, read_output, reference_of
from tasks.errors import UsageError
from tasks.judge.labels.store import SET
from tasks.judge.votes.store import VOTES
from tasks.machine.home import without_password
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking
from tasks.registry.promotion import Promotion
from tasks.registry.versions import (
    CHAMPION,
    registered_models,
    require_version,
    version_by_alias,
    versions_of,
)

LATEST = "@latest"
REPORT = f"{MADE_BY}report"  # the tag of a run that came to its card
EXPECTED = "a run's id or its beginning, @latest, a profile that was run, NAME, NAME@champion or NAME/3"
LEAST = 4  # characters of an id
SHOWN = 8  # characters of an id that lists show
AT_ONCE = 10  # candidates that an error lists

_ID = re.compile(rf"[0-9a-f]{{{LEAST},32}}")
_VERSION = re.compile(r"(?P<name>[^/:@]+)(?:/(?P<number>\d+)|@(?P<alias>[^/:@]+))")


@dataclass(frozen=True)
class Named:
    """What was named: a run, and a version where that was it; of a run the model that was said."""

    run: Run
    """That stages are children of: of a version the one that registered it."""
    version: ModelVersion | None = None
    model: str = ""
    """`base`, `fine-tuned`, `preferred`; nothing where none was said."""


def resolve_name(tracking: Tracking, text: str | None, *, finished: bool = True) -> Named:
    """What is meant; None is `@latest`.

    With `finished`, names and `@latest` stand for the newest run that has a report, else for the newest of
    any state. Of several seeds it is the run of all of them, once that has a report; a sweep stands for the
    run of what it chose.

    Raises UsageError for what is not there, or could be several things: it lists them.
    """
    text = LATEST if text is None else text.strip()
    if version := _spelt_version(tracking, text):
        return _with_run(tracking, version)
    name, _, model = text.partition(":")
    if name == LATEST:
        return Named(newest_run(tracking, finished=finished), model=model)
    registered = name in [one.name for one in registered_models(tracking)]
    newest = _newest_called(tracking, name, finished)
    if registered and newest and not model:
        raise UsageError(
            f"{name!r} is a registered model and a profile that was run; say {name}@champion for the model, "
            f"or {newest.info.run_id[:SHOWN]} for the profile's newest run"
        )
    if registered and not model:
        return _with_run(tracking, _version(tracking, name, None, None))
    run = newest or (_by_beginning(tracking, name) if _ID.fullmatch(name) else None)
    if run is None:
        raise _unknown(tracking, text, name)
    if finished and (chosen := run.data.tags.get(CHOSEN)):
        run = tracking.client.get_run(chosen)
    return Named(run, model=model)


def resolve_version(tracking: Tracking, text: str) -> ModelVersion:
    """The version of a registered model that is meant; of a run the one that it registered.

    Raises UsageError for a run that registered none.
    """
    if version := _spelt_version(tracking, text.strip()):
        return version
    found = resolve_name(tracking, text)
    if found.version is not None:
        return found.version
    if found.model:
        raise UsageError(
            f"{text!r}: a run registers the last model that it trained; leave :{found.model} out"
        )
    stage = found.run.data.tags.get(f"{MADE_BY}promote")
    if stage is None:
        raise UsageError(
            f"run {found.run.info.run_id[:SHOWN]} ({found.run.info.run_name}) registered no model: it is "
            f"{found.run.info.status}. `touchstone models` lists those that there are"
        )
    made = read_output(tracking, reference_of(tracking, stage), Promotion.read)
    return require_version(tracking, made.name, made.version)


def newest_run(tracking: Tracking, condition: str = "", *, finished: bool = True) -> Run:
    """The newest pipeline run; see `resolve_name`. Raises UsageError when there is none."""
    if found := _newest(tracking, condition, finished):
        return found
    state = "has finished" if finished else "has been run"
    raise UsageError(f"no pipeline {state} yet; start one with: touchstone run quickstart")


def pipeline_run_of(tracking: Tracking, run: Run) -> Run:
    """The run that stages are children of: a stage's run stands for its pipeline's."""
    parent = None if KIND in run.data.tags else run.data.tags.get("mlflow.parentRunId")
    return tracking.client.get_run(parent) if parent else run


def described(run: Run) -> str:
    """`3f2a9c11 (quickstart, 2026-11-28 14:02, FINISHED)`."""
    when = datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
    return f"{run.info.run_id[:SHOWN]} ({run.info.run_name}, {when:%Y-%m-%d %H:%M}, {run.info.status})"


def _reject_other_spellings(text: str) -> None:
    """Raises UsageError that names the one spelling, for another that is common elsewhere."""
    if text.startswith("models:/"):
        raise UsageError(f"{text!r}: leave models:/ out, as in {text.removeprefix('models:/')}")
    if text.startswith("@") and text.partition(":")[0] != LATEST:
        raise UsageError(f"{text!r}: expected {LATEST}, or an alias after its model, as in NAME{text}")
    if found := re.fullmatch(r"([^/:@]+)(?::| version | v)(\d+)", text):
        raise UsageError(f"{text!r}: expected {found[1]}/{found[2]} for a version of a registered model")


def _spelt_version(tracking: Tracking, text: str) -> ModelVersion | None:
    """The version that a text names by a number or an alias; None for other texts."""
    _reject_other_spellings(text)
    found = None if text.partition(":")[0] == LATEST else _VERSION.fullmatch(text)
    return found and _version(tracking, found["name"], found["number"], found["alias"])


def _version(tracking: Tracking, name: str, number: str | None, alias: str | None) -> ModelVersion:
    """Raises UsageError when there is no such model or version."""
    names = [one.name for one in registered_models(tracking)]
    if name not in names:
        there = f"there are {', '.join(names)}" if names else "none is registered yet"
        raise UsageError(f"there is no registered model {name!r}; {_close(name, names) or there}")
    if number:
        version = require_version(tracking, name, int(number))
    else:
        version = version_by_alias(tracking, name, alias or CHAMPION)
        if version is None and alias is None:
            version = versions_of(tracking, name)[-1]
    if version is None:
        raise UsageError(f"{name} has no {alias}; `touchstone models` tells of each version")
    return version


def _with_run(tracking: Tracking, version: ModelVersion) -> Named:
    if not version.run_id:
        raise UsageError(f"{version.name}/{version.version} was registered by another tool: it names no run")
    return Named(pipeline_run_of(tracking, tracking.client.get_run(version.run_id)), version)


def _newest_called(tracking: Tracking, name: str, finished: bool) -> Run | None:
    if not name or '"' in name:
        return None
    for tag in ("touchstone.profile", "mlflow.runName"):
        if found := _newest(tracking, f'tags.`{tag}` = "{name}"', finished):
            return found
    return None


def _newest(tracking: Tracking, condition: str, finished: bool) -> Run | None:
    """Of several seeds the newest is the run of all of them, once that has a report; of trials the sweep."""
    started = [f"tags.`{KIND}` != '{kind}'" for kind in ("", SET, VOTES)]  # what people said is no run
    of_pipelines = [f"tags.`{REPORT}` != ''", f"tags.`{KIND}` = '{PIPELINE}'"]
    conditions = [*(of_pipelines if finished else started), *([condition] if condition else [])]
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        " AND ".join(conditions),
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        return None
    group = runs[0].data.tags.get("mlflow.parentRunId")
    whole = tracking.client.get_run(group) if group else runs[0]
    is_whole = not finished or REPORT in whole.data.tags
    return whole if is_whole and whole.data.tags.get(KIND) in (PIPELINE, SEEDS, SWEEP, SERIES) else runs[0]


def _by_beginning(tracking: Tracking, beginning: str) -> Run | None:
    """The run whose id begins so; that of a stage stands for its pipeline's."""
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"attributes.run_id LIKE '{beginning}%'",
        order_by=["attributes.start_time DESC"],
        max_results=AT_ONCE + 1,
    )
    if len(found) > 1:
        raise UsageError(f"{beginning!r} is the beginning of {_listed(found)}. Write more of one")
    return pipeline_run_of(tracking, found[0]) if found else None


def _listed(runs: Sequence[Run]) -> str:
    count = f"{len(runs)} runs" if len(runs) <= AT_ONCE else f"more than {AT_ONCE} runs"
    return f"{count}: {', '.join(described(run) for run in runs[:AT_ONCE])}"


def _unknown(tracking: Tracking, text: str, name: str) -> UsageError:
    models = [one.name for one in registered_models(tracking)]
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{KIND}` = '{PIPELINE}'", order_by=["attributes.start_time DESC"]
    )
    profiles = list(dict.fromkeys(run.data.tags.get("touchstone.profile", "") for run in runs))
    hint = _close(name, [*models, *profiles])
    where = without_password(tracking.uri)
    short = _ID.fullmatch(name) is None and re.fullmatch(r"[0-9a-f]+", name)
    return UsageError(
        f"{text!r} is no run, no registered model and no profile that has finished, in {where}"
        + (f"; {hint}" if hint else ".")
        + f" Expected {EXPECTED}"
        + (f" (the beginning of an id has at least {LEAST} characters)" if short else "")
    )


def _close(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else ""
