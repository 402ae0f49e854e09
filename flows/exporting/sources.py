"""What a person names to be exported, as the inputs of the stage. Prefect is not needed for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch.runs import KIND, PIPELINE, SEED, SEEDS, pipeline_run_of, read_output, reference_of
from flows.process.console import console
from tasks.config import REGISTERED
from tasks.errors import StageError, UsageError
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of, names_of_inputs
from tasks.registry.promote.rescoring import SCORES
from tasks.registry.promotion import Promotion
from tasks.registry.resolve import intact, resolve
from tasks.registry.versions import CHAMPION, registered_models, version_by_alias, versions_of

LATEST = "@latest"
MODELS = ("dpo", "finetune", "classify", "base", "pretrain")  # the last that a pipeline trains comes first
LEAST = 4  # characters of a run's id


@dataclass(frozen=True)
class Exported:
    """What a name stands for: the inputs of the stage, or a folder; and the version, if it is one."""

    inputs: Mapping[str, Reference] = field(default_factory=dict)
    folder: Path | None = None
    version: tuple[str, int] | None = None

    @property
    def name(self) -> str | None:
        """What its files are called where nobody says otherwise."""
        return None if self.version is None else f"{self.version[0]}-v{self.version[1]}"


def find_exported(tracking: Tracking, text: str) -> Exported:
    """What is meant by a folder, NAME, NAME@alias, NAME/3, @latest, or a run's id or its beginning.

    Raises UsageError for what is not there.
    """
    if Path(text).is_dir() and (Path(text) / "config.json").is_file():
        return Exported(folder=Path(text).absolute())
    text = text.removeprefix("models:/")
    names = [model.name for model in registered_models(tracking)]
    if text in names:
        text = f"{text}@{CHAMPION}" if version_by_alias(tracking, text, CHAMPION) else _newest(tracking, text)
    if REGISTERED.fullmatch(f"models:/{text}") and not text.startswith("@"):
        return _of_version(tracking, f"models:/{text}")
    if text == LATEST:
        return _of_run(tracking, pipeline_run_of(tracking, None))
    if len(text) >= LEAST and all(character in "0123456789abcdef" for character in text):
        return _of_run(tracking, _run_of(tracking, text))
    known = f"; registered are {', '.join(names)}" if names else "; no model is registered yet"
    raise UsageError(
        f"{text!r} is no model: expected NAME, NAME@champion or NAME/3, a run's id or its beginning, "
        f"@latest, or a folder with a config.json{known}"
    )


def _newest(tracking: Tracking, name: str) -> str:
    return f"{name}/{versions_of(tracking, name)[-1].version}"


def _run_of(tracking: Tracking, beginning: str) -> Run:
    found = tracking.client.search_runs(
        [tracking.experiment_id], f"attributes.run_id LIKE '{beginning}%'", max_results=2
    )
    if len(found) != 1:
        told = "several runs begin" if found else "no run of MLflow begins"
        raise UsageError(f"{told} with {beginning!r}; `touchstone models` lists what is registered")
    return pipeline_run_of(tracking, found[0].info.run_id)


def _of_version(tracking: Tracking, uri: str) -> Exported:
    found = resolve(tracking, uri)
    version = tracking.client.get_model_version(found.name, str(found.version))
    inputs = {"model": intact(tracking, found.model)}
    if found.under:
        inputs["base"] = intact(tracking, found.under)
    if SCORES in version.tags:
        inputs |= _scored(tracking, Reference.model_validate_json(version.tags[SCORES]))
    inputs |= _card(tracking, version.run_id)
    return Exported(inputs, version=(found.name, found.version))


def _scored(tracking: Tracking, scores: Reference) -> dict[str, Reference]:
    """The scores, with the responses and rows that they are of; a classifier has none."""
    if scores.stage != "judge":
        return {}
    try:
        responses = input_of(tracking, tracking.client.get_run(scores.run_id), "responses")
        rows = input_of(tracking, tracking.client.get_run(responses.run_id), "rows")
        found = {"scores": scores, "responses": responses, "rows": rows}
        return {name: intact(tracking, reference) for name, reference in found.items()}
    except (StageError, MlflowException) as error:
        console.say(f"  export: what the numbers cost is not measured: {error}", style="yellow")
        return {}


def _card(tracking: Tracking, run_id: str | None) -> dict[str, Reference]:
    """The report card of the pipeline that a stage's run belongs to, where there is one."""
    if not run_id:
        return {}
    run = pipeline_run_of(tracking, run_id)
    made_in = run.data.tags.get(f"{MADE_BY}report")
    return {"report": reference_of(tracking, made_in)} if made_in else {}


def _of_run(tracking: Tracking, run: Run) -> Exported:
    """The version that a pipeline's run registered, else what it pretrained; of several seeds the first's."""
    tags = run.data.tags
    if tags.get(KIND) == SEEDS and (
        numbers := [int(name.removeprefix(SEED)) for name in tags if name.startswith(SEED)]
    ):
        return _of_run(tracking, tracking.client.get_run(tags[f"{SEED}{min(numbers)}"]))
    if promoted := tags.get(f"{MADE_BY}promote"):
        made = read_output(tracking, reference_of(tracking, promoted), Promotion.read)
        return _of_version(tracking, f"models:/{made.name}/{made.version}")
    made_in = next((tags[MADE_BY + stage] for stage in MODELS if MADE_BY + stage in tags), None)
    if made_in is None or tags.get(KIND) != PIPELINE:
        raise UsageError(f"run {run.info.run_id} ({run.info.run_name}) has made no model")
    inputs = {"model": reference_of(tracking, made_in)}
    made = tracking.client.get_run(made_in)
    if "base" in names_of_inputs(made):
        inputs["base"] = input_of(tracking, made, "base")
    return Exported(inputs | _card(tracking, made_in))
