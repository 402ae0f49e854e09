"""What each stage cost, and what made the card: from MLflow, where the stages recorded it."""

from typing import Any

from tasks.record import StageRun

PREFIX = "touchstone."


def cost_of(run: StageRun) -> dict[str, Any]:
    """Seconds and ids of every input's stage, and the lineage; without MLflow there are only the ids.

    `parent` is the pipeline run that a stage was computed in: another one than the card's own says that the
    stage's output was found, not made again. Whether a stage was continued from a checkpoint, so that its
    seconds are only those of the last attempt, is not recorded.
    """
    stages = []
    for name, reference in run.references.items():
        entry = {"output": name} | reference.model_dump(exclude={"uri"})
        entry |= {"seconds": None, "tokens_per_second": None, "parent": None}
        if run.tracking:
            recorded = run.tracking.client.get_run(reference.run_id).data
            entry |= {
                "seconds": recorded.metrics.get("seconds"),
                "tokens_per_second": recorded.metrics.get("tokens_per_second"),
                "parent": recorded.tags.get("mlflow.parentRunId"),
            }
        stages.append(entry)
    parent = None
    if run.tracking and run.run_id:
        parent = run.tracking.client.get_run(run.run_id).data.tags.get("mlflow.parentRunId")
    return {
        "stages": stages,
        "run_id": run.run_id,
        "parent": parent,
        "lineage": {name.removeprefix(PREFIX): value for name, value in run.lineage.items() if value},
    }
