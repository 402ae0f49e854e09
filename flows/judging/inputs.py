"""What is compared: a file of responses, or what a run made, or the runs of several seeds."""

from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from flows.dispatch.names import SHOWN, resolve_name
from flows.dispatch.runs import KIND, SEED, SEEDS, reference_of
from tasks.config import DownloadConfig, JudgeConfig, source_from_text
from tasks.errors import UsageError
from tasks.models import MODELS
from tasks.record.outputs import read_config
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.registry.lineage import responses_and_scores

GENERATED, SCORED = "generate ", "judge "  # what the labels of a pipeline's stages begin with


@dataclass(frozen=True)
class ComparisonInput:
    """One of the two: a name to show, and either its responses, by seed, or the file that holds them."""

    name: str
    judge: JudgeConfig
    """How it was scored; files are by a metric, where nothing else is said."""
    responses: tuple[Reference, ...] = ()
    file: DownloadConfig | None = None


def parse_comparison_input(text: str) -> ComparisonInput:
    """What A or B is: a file of responses, or what `resolve_name` finds, also a run of `touchstone judge`.

    Raises UsageError when there is no such file, run or model.
    """
    if Path(text).is_file() or "://" in text:
        name = text.rpartition("/")[2]
        source = DownloadConfig.model_validate({"sources": [source_from_text(text)]})
        return ComparisonInput(name, JudgeConfig(), file=source)
    tracking = open_tracking()
    try:
        found = resolve_name(tracking, text)
    except UsageError as error:
        raise UsageError(f"{error}; or a file of responses, and there is no file of this name") from error
    if found.version is not None:
        return _scored(*outputs_of_version(tracking, found.version))
    return _of_run(tracking, found.run, found.model)


def _of_run(tracking: Tracking, run: Run, model: str) -> ComparisonInput:
    if run.data.tags[KIND] == SEEDS:
        return _of_seeds(tracking, run, model)
    return _scored(*outputs_of(tracking, run, model))


def _scored(name: str, responses: Reference, scores: Reference) -> ComparisonInput:
    judge = JudgeConfig.model_validate_json(read_config(scores))
    return ComparisonInput(name=name, judge=judge, responses=(responses,))


def outputs_of(tracking: Tracking, run: Run, model: str) -> tuple[str, Reference, Reference]:
    """Of a model of a run, by default the last one trained: its name, its responses, its scores.

    Raises UsageError when the run has no such model.
    """
    run_id = run.info.run_id[:SHOWN]
    if run.data.tags[KIND] == SEEDS:
        raise UsageError(f"run {run_id} is of several seeds; name the run of one of them")
    made = {
        name.removeprefix(MADE_BY): value for name, value in run.data.tags.items() if name.startswith(MADE_BY)
    }
    models = {
        label.removeprefix(GENERATED): SCORED + label.removeprefix(GENERATED)
        for label in made
        if label.startswith(GENERATED)
    }
    if "responses" in made:
        models = {"": "judge"}
    if not models:
        raise UsageError(f"run {run_id} has no responses to compare: nothing was generated or judged in it")
    if model not in models:
        if model:
            there = ", ".join(filter(None, models)) or "one alone, without a name"
            raise UsageError(f"run {run_id} has no model {model!r}; there are {there}")
        model = next(name for name in (*reversed(MODELS.values()), "") if name in models)
    return (
        f"{run.info.run_name} {model}".strip(),
        reference_of(tracking, made[GENERATED + model if model else "responses"]),
        reference_of(tracking, made[models[model]]),
    )


def outputs_of_version(tracking: Tracking, version: ModelVersion) -> tuple[str, Reference, Reference]:
    """Of a version of a registered model: its name, its responses, its scores.

    Raises UsageError for one that was not registered here, or that gives no responses.
    """
    return f"{version.name} version {version.version}", *responses_and_scores(tracking, version)


def _of_seeds(tracking: Tracking, run: Run, model: str) -> ComparisonInput:
    """The responses of every seed; a model that was not trained, the same for all of them, counts once."""
    numbers = sorted(int(name.removeprefix(SEED)) for name in run.data.tags if name.startswith(SEED))
    if not numbers:
        raise UsageError(f"run {run.info.run_id} has no seed that came to its end. Run its profile again")
    runs = (tracking.client.get_run(run.data.tags[f"{SEED}{number}"]) for number in numbers)
    sides = [_of_run(tracking, one, model) for one in runs]
    responses = {side.responses[0].digest: side.responses[0] for side in sides}
    first = sides[0].name.rpartition(" ")
    name = f"{run.info.run_name} {first[2]}, {len(responses)} seeds"
    return ComparisonInput(name, sides[0].judge, tuple(responses.values()))
