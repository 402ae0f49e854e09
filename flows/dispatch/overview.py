"""What MLflow's page of a pipeline's run shows: its card, its data sets, its model, and its scores.

Each stage keeps these on a run of its own; whoever opens the pipeline's should not have to look for them.
"""

from collections.abc import Mapping

from mlflow.entities import LoggedModelOutput

from tasks.record.outputs import read_auxiliary
from tasks.record.stage import log_dataset, metrics_of
from tasks.record.tracking import Tracking, mlflow_name, set_tags
from tasks.record.work import Reference
from tasks.registry.versions import version_of
from tasks.report.outputs import PAGE
from tasks.show.document import Document
from tasks.show.markdown import as_summary

NOTE = "mlflow.note.content"  # what MLflow's page of a run shows as its description, in Markdown
MADE_BY = "Made by the Prefect flow run"  # begins the part of a description that is a link

USED_FOR = {  # a data set of a pipeline, by the name that the report has for it
    "corpus": "pretraining",
    "instructions": "source of the rows",
    "labelled": "source of the rows",
    "rows": "training and test",
}


def show_card(tracking: Tracking, run_id: str, card: Reference, document: Document) -> None:
    """Put the page of a report card among the artifacts of a run, and its head into the run's description.

    A link to Prefect that is in the description stays there.
    """
    tracking.client.log_text(run_id, read_auxiliary(card, PAGE), PAGE)
    told = tracking.client.get_run(run_id).data.tags.get(NOTE, "").split("\n\n")
    links = [part for part in told if part.startswith(MADE_BY)]
    parts = [as_summary(document), f"The whole card is `{PAGE}` among the artifacts.", *links]
    set_tags(tracking.client, run_id, {NOTE: "\n\n".join(parts)})


def show_datasets(tracking: Tracking, run_id: str, outputs: Mapping[str, Reference | None]) -> None:
    """Enter the data sets among the outputs of a pipeline's stages as inputs of its run."""
    for name, context in USED_FOR.items():
        if found := outputs.get(name):
            numbers = metrics_of(tracking.client.get_run(found.run_id))
            profile = numbers | ({"num_rows": int(numbers["rows"])} if "rows" in numbers else {})
            log_dataset(tracking, run_id, name, found.digest, found.uri, context, profile)


def show_model(tracking: Tracking, run_id: str, name: str, number: int) -> None:
    """Enter the model of a registered version as an output of a run; one that is gone is left out."""
    version = version_of(tracking, name, number)
    if version is not None and version.run_id:
        logged = tracking.client.get_run(version.run_id).outputs.model_outputs
        tracking.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0) for model in logged])


def score_metric(model: str, scorer: str, number: str) -> str:
    """What MLflow calls a number of a score: `fine-tuned.chrf.mean`."""
    return mlflow_name(f"{model}.{scorer.removeprefix('metric:')}", f".{number}")
