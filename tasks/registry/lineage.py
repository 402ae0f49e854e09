"""Walking back: from a stage's run to the outputs that it was made from."""

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from tasks.errors import StageError, UsageError
from tasks.record.stage import reference_to
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.versions import SCORES, champion_of

DATASET = "touchstone.dataset."  # begins the tags that name a run's inputs: .<input>.<stage>


def names_of_inputs(run: Run) -> set[str]:
    """The names of what a stage's run was given."""
    return {tag.removeprefix(DATASET).partition(".")[0] for tag in run.data.tags if tag.startswith(DATASET)}


def input_of(tracking: Tracking, run: Run, name: str) -> Reference:
    """The output that a stage's run was given under a name. Raises StageError when it is not to be found."""
    start = f"{DATASET}{name}."
    digest = next((value for tag, value in run.data.tags.items() if tag.startswith(start)), None)
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.digest` = '{digest}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    reference = next((made for other in found if (made := reference_to(other))), None)
    if digest is None or reference is None:
        raise StageError(f"the {name} that MLflow run {run.info.run_id} was given are not in MLflow any more")
    return reference


def inputs_of(tracking: Tracking, run: Run) -> dict[str, Reference]:
    """Every output that a stage's run was given, by input name. Raises StageError as `input_of` does."""
    return {name: input_of(tracking, run, name) for name in sorted(names_of_inputs(run))}


def responses_and_scores(tracking: Tracking, version: ModelVersion) -> tuple[Reference, Reference]:
    """Of a version of a registered model, what it was promoted by.

    Raises UsageError for one that was not registered here, or that gives no responses.
    """
    name = f"{version.name} version {version.version}"
    if SCORES not in version.tags:
        raise UsageError(f"{name} was not registered by Touchstone: it has no scores")
    scores = Reference.model_validate_json(version.tags[SCORES])
    if scores.stage != "judge":
        raise UsageError(f"{name} gives no responses: its labels are those of its rows")
    return input_of(tracking, tracking.client.get_run(scores.run_id), "responses"), scores


def champion_and_rows(tracking: Tracking, model: str) -> tuple[int, Reference, Reference]:
    """The champion's version, its responses, and the rows that they answer.

    Raises UsageError when the model has no champion, or its champion is no model that responds.
    """
    champion = champion_of(tracking, model)
    if champion is None:
        raise UsageError(
            f"the registered model {model} has no champion. Run its profile, or promote a version"
        )
    responses, _ = responses_and_scores(tracking, champion)
    answered = tracking.client.get_run(responses.run_id)
    return int(champion.version), responses, input_of(tracking, answered, "rows")
