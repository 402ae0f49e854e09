"""What a person names to be exported, as the inputs of the stage. Prefect is not needed for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.exceptions import MlflowException

from flows.dispatch.find_model import FoundModel, find_model, models_of
from flows.dispatch.runs import reference_of
from flows.process.console import console
from tasks.errors import StageError, UsageError
from tasks.models.folders import require_no_rewards
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of
from tasks.registry.promote.rescoring import SCORES
from tasks.registry.resolve import intact

CARD = "report to export"  # a pipeline's stage: its card before it tells of the export


@dataclass(frozen=True)
class Exported:
    """What a name stands for: the inputs of the stage, or a folder; and the version, if it is one."""

    name: str
    """What its files are called where nobody says otherwise."""
    inputs: Mapping[str, Reference] = field(default_factory=dict)
    folder: Path | None = None
    version: tuple[str, int] | None = None


def find_exported(tracking: Tracking, text: str) -> Exported:
    """What is meant, as `find_model` reads it, with what its pipeline knows of it.

    Raises UsageError for what is not there, and for a GGUF file.
    """
    found = find_model(tracking, text)
    require_no_rewards(found.name, found.fetched(tracking).task, "Its folder loads as it is")
    if found.files:
        if found.files.is_gguf:
            raise UsageError(f"{text} is a GGUF file, an export already. Name the model that it is of")
        return Exported(found.name, folder=found.files.path)
    inputs = {"model": found.model}
    if found.base:
        inputs["base"] = found.base
    if found.version is None:
        return Exported(found.run.info.run_name, inputs | _card(tracking, found))
    name, number = found.version
    tags = tracking.client.get_model_version(name, str(number)).tags
    if SCORES in tags:
        inputs |= _scored(tracking, Reference.model_validate_json(tags[SCORES]))
    return Exported(f"{name}-v{number}", inputs | _card(tracking, found), version=found.version)


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


def _card(tracking: Tracking, found: FoundModel) -> dict[str, Reference]:
    """The report card of the model's pipeline, which is of the last that it trained."""
    tags = found.run.data.tags
    if found.model.stage != next(iter(models_of(found.run).values()), None):
        return {}
    made_in = tags.get(MADE_BY + CARD, tags.get(f"{MADE_BY}report"))
    return {"report": reference_of(tracking, made_in)} if made_in else {}
