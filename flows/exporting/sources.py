"""What a person names to be exported, as the inputs of the stage. Prefect is not needed for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.dispatch.names import pipeline_run_of, resolve_name
from flows.dispatch.runs import KIND, PIPELINE, SEED, SEEDS, read_output, reference_of
from flows.process.console import console
from tasks.errors import StageError, UsageError
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of, names_of_inputs
from tasks.registry.promote.rescoring import SCORES
from tasks.registry.promotion import Promotion
from tasks.registry.resolve import intact, resolve

CARD = "report to export"  # a pipeline's stage: its card before it tells of the export
MODELS = ("dpo", "finetune", "classify", "base", "pretrain")  # the last that a pipeline trains comes first


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
    """What is meant by a folder of Hugging Face, or by a name as `resolve_name` reads it.

    Raises UsageError for what is not there.
    """
    if Path(text).is_dir() and (Path(text) / "config.json").is_file():
        return Exported(folder=Path(text).absolute())
    found = resolve_name(tracking, text)
    if found.version is not None:
        return _of_version(tracking, f"models:/{found.version.name}/{found.version.version}")
    if found.model:
        raise UsageError(
            f"{text!r}: a run is exported as the last model that it trained; leave :{found.model} out"
        )
    return _of_run(tracking, found.run)


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
    """The report card of the pipeline that a stage's run belongs to, as its own export was given it."""
    if not run_id:
        return {}
    tags = pipeline_run_of(tracking, tracking.client.get_run(run_id)).data.tags
    made_in = tags.get(MADE_BY + CARD, tags.get(f"{MADE_BY}report"))
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
