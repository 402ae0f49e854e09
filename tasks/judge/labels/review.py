"""Rows to be labelled in MLflow's own review: a queue of their traces, with the one question."""

from collections.abc import Mapping, Sequence

import mlflow.genai.review_queues as queues
from mlflow.exceptions import MlflowException
from mlflow.genai.label_schemas import InputCategorical, create_label_schema, get_label_schema

from tasks.errors import StageError
from tasks.judge.labels.scale import ANCHORS, LABELS
from tasks.judge.labels.store import LABEL, LabelSet
from tasks.record.tracking import Tracking

NAMED = 12  # characters of a digest in the name of a queue
THERE = "RESOURCE_ALREADY_EXISTS"
INSTRUCTION = "Compare the response with the expected one. " + "; ".join(
    f"{label}: {meaning}" for label, meaning in ANCHORS.items()
)


def queue_for_review(labels: LabelSet, rows: Sequence[int], traces: Mapping[int, str]) -> str:
    """Put the traces of rows into the queue of these responses; returns the queue's name.

    Raises StageError where the server has no review queues.
    """
    tracking = labels.tracking
    name = f"touchstone labels {labels.of[:NAMED]}"
    try:
        question = _question(tracking)
        queue = _queue(tracking, name, question)
        queues.add_items_to_review_queue(queue, item_ids=[traces[row] for row in rows])
    except MlflowException as error:
        raise StageError(
            f"MLflow at {tracking.uri} cannot queue traces for review ({error}). Its server is older than "
            "3.14, or keeps traces elsewhere: label with --to terminal or --to csv"
        ) from error
    return name


def _question(tracking: Tracking) -> str:
    """The id of the experiment's question, whose name is that of the assessment which answers it."""
    try:
        made = create_label_schema(
            LABEL,
            type="feedback",
            input=InputCategorical(options=[str(label) for label in reversed(LABELS)]),
            instruction=INSTRUCTION,
            enable_comment=True,
            experiment_id=tracking.experiment_id,
        )
    except MlflowException as error:
        if error.error_code != THERE:
            raise
        made = get_label_schema(LABEL, experiment_id=tracking.experiment_id)
    return made.schema_id


def _queue(tracking: Tracking, name: str, question: str) -> str:
    try:
        made = queues.create_review_queue(
            name, queue_type="custom", schema_ids=[question], experiment_id=tracking.experiment_id
        )
    except MlflowException as error:
        if error.error_code != THERE:
            raise
        made = queues.get_review_queue(name=name, experiment_id=tracking.experiment_id)
    return made.queue_id
