"""What is compared: a file of responses, or what a run made, or the runs of several seeds."""

from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from flows.dispatch.runs import KIND, SEED, SEEDS, pipeline_run_of, reference_of
from tasks.config import DownloadConfig, JudgeConfig, source_from_text
from tasks.errors import UsageError
from tasks.record.outputs import read_config
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference

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
    """What A or B is: a file of responses, or `RUN` or `RUN:MODEL` of a pipeline or of `touchstone judge`.

    Raises UsageError when there is no such file, run or model.
    """
    if Path(text).is_file() or "://" in text:
        name = text.rpartition("/")[2]
        source = DownloadConfig.model_validate({"sources": [source_from_text(text)]})
        return ComparisonInput(name, JudgeConfig(), file=source)
    run_id, _, model = text.partition(":")
    if not (len(run_id) == 32 and run_id.isalnum()):
        raise UsageError(
            f"{text!r} is neither a file nor the id of an MLflow run; expected a file of responses, RUN or "
            "RUN:MODEL"
        )
    return _of_run(open_tracking(), run_id, model)


def _of_run(tracking: Tracking, run_id: str, model: str) -> ComparisonInput:
    run = pipeline_run_of(tracking, run_id)
    if run.data.tags[KIND] == SEEDS:
        return _of_seeds(tracking, run, model)
    name, responses, scores = outputs_of(tracking, run_id, model)
    judge = JudgeConfig.model_validate_json(read_config(scores))
    return ComparisonInput(name=name, judge=judge, responses=(responses,))


def outputs_of(tracking: Tracking, run_id: str, model: str) -> tuple[str, Reference, Reference]:
    """Of a model of a run, by default the last one trained: its name, its responses, its scores.

    Raises UsageError when the run has no such model.
    """
    run = pipeline_run_of(tracking, run_id)
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
        model = next(name for name in ("preferred", "fine-tuned", "base", "") if name in models)
    return (
        f"{run.info.run_name} {model}".strip(),
        reference_of(tracking, made[GENERATED + model if model else "responses"]),
        reference_of(tracking, made[models[model]]),
    )


def _of_seeds(tracking: Tracking, run: Run, model: str) -> ComparisonInput:
    """The responses of every seed; a model that was not trained, the same for all of them, counts once."""
    numbers = sorted(int(name.removeprefix(SEED)) for name in run.data.tags if name.startswith(SEED))
    if not numbers:
        raise UsageError(f"run {run.info.run_id} has no seed that came to its end. Run its profile again")
    sides = [_of_run(tracking, run.data.tags[f"{SEED}{number}"], model) for number in numbers]
    responses = {side.responses[0].digest: side.responses[0] for side in sides}
    first = sides[0].name.rpartition(" ")
    name = f"{run.info.run_name} {first[2]}, {len(responses)} seeds"
    return ComparisonInput(name, sides[0].judge, tuple(responses.values()))
