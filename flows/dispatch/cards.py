"""The report card of a run, with the labels that people have given its responses until now.

Prefect is not needed for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run

from flows.dispatch.lookup import Runs, work_of
from flows.dispatch.names import SHOWN, resolve_name
from flows.dispatch.overview import show_card
from flows.dispatch.runs import KIND, TRIAL, read_output, reference_of
from flows.stages import STAGES
from tasks.config import LabelsConfig, ReportConfig, StageConfig
from tasks.errors import UsageError
from tasks.judge.labels.stage import labels_fingerprint
from tasks.models import MODELS
from tasks.record.outputs import read_config
from tasks.record.stage import MADE_BY, execute
from tasks.record.tracking import Tracking, open_tracking, set_tags
from tasks.record.work import Reference
from tasks.registry.champions import now
from tasks.registry.lineage import DATASET, inputs_of
from tasks.report.document import as_document
from tasks.report.outputs import page_address, read_cost, read_report


@dataclass(frozen=True)
class Card:
    """A report card: what it shows, what that cost, and the address of its page."""

    report: dict[str, Any]
    cost: dict[str, Any]
    page: str
    now: str | None
    """What became of the promotion since, where that is not what the card says."""


def load_report(name: str | None = None) -> Card:
    """The report card of what is named (`resolve_name`), by default of the newest, with people's labels.

    Raises UsageError when there is no such run, or it has no report.
    """
    tracking = open_tracking()
    run = resolve_name(tracking, name).run
    made_in = run.data.tags.get(f"{MADE_BY}report")
    if made_in is None:
        told = f"run {run.info.run_id[:SHOWN]} ({run.info.run_name})"
        if run.data.tags.get(KIND) == TRIAL:
            raise UsageError(
                f"{told} is a trial: its model was measured on validation rows alone, of which no report is "
                "made. Run the profile with the trial's settings; a sweep's report is of what it chose"
            )
        raise UsageError(f"{told} has no report: it is {run.info.status}. Run its profile again")
    reference = _as_of_now(tracking, run, reference_of(tracking, made_in))
    report = read_output(tracking, reference, read_report)
    return Card(report, read_cost(reference), page_address(reference), _now(tracking, report))


def _now(tracking: Tracking, report: Mapping[str, Any]) -> str | None:
    if "promotion" not in report:
        return None
    promotion = report["promotion"]
    return now(tracking, promotion["name"], promotion["version"], promotion["champion"])


def _as_of_now(tracking: Tracking, run: Run, card: Reference) -> Reference:
    """The card as it would be made now: as it is, or made anew where it lacks labels or is of before.

    A card of another version of the stage may lack what is shown today.
    """
    made = tracking.client.get_run(card.run_id)
    is_present = made.data.tags["touchstone.version"] == str(STAGES["report"].version)
    given = {
        tag.removeprefix(DATASET).rpartition(".")[0]: digest
        for tag, digest in made.data.tags.items()
        if tag.startswith(DATASET)
    }
    labelled = {
        model
        for model in MODELS
        if f"{model}_labels" in given or is_labelled(tracking, given.get(f"{model}_responses"))
    }
    if is_present and not labelled:
        return card
    recorded, inputs = Recorded(tracking, run.info.run_id), inputs_of(tracking, made)
    for model in labelled:
        inputs.pop(f"{model}_labels", None)
        if found := labels_output(recorded, inputs[f"{model}_responses"], f"labels {MODELS[model]}"):
            inputs[f"{model}_labels"] = found
    config = ReportConfig.model_validate_json(read_config(card))
    made_anew = recorded.stage("report", config, **inputs)
    report = read_output(tracking, made_anew, read_report)
    show_card(tracking, run.info.run_id, made_anew, as_document(report, read_cost(made_anew)))
    return made_anew


def is_labelled(tracking: Tracking, responses: str | None) -> bool:
    """Whether people have labelled any of the responses with this digest."""
    return responses is not None and labels_fingerprint(tracking, responses)["labels"] != "none"


def labels_output(run: Runs, responses: Reference, label: str) -> Reference | None:
    """What people have said of some responses until now; None where they have not."""
    if not is_labelled(run.tracking, responses.digest):
        return None
    return run.stage("labels", LabelsConfig(of=responses.digest), label, responses=responses)


class Recorded:
    """Runs stages without Prefect, whose server takes seconds, and names them on a pipeline's run."""

    def __init__(self, tracking: Tracking, pipeline: str) -> None:
        self.tracking = tracking
        self.pipeline = pipeline

    def stage(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference | None
    ) -> Reference:
        """Find the stage's output or make it."""
        label = label or stage
        reference = execute(
            self.tracking,
            work_of(stage, config, inputs),
            parent=self.pipeline,
            label=label,
        )
        set_tags(self.tracking.client, self.pipeline, {MADE_BY + label: reference.run_id})
        return reference
