"""The tasks of a classifier, declared once: what is asked of a text, by the kind of its rows.

Nothing heavy is imported before a task, or the card on one, is asked for.
"""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.summary import CLASSIFICATION

if TYPE_CHECKING:
    from tasks.classify.card import Card
    from tasks.classify.task import ClassifyTask


@dataclass(frozen=True)
class TaskEntry:
    """Where a task is implemented."""

    entry: str
    """`module:object` of its `ClassifyTask`: data, model, checks, measures, baselines, answers."""
    card: str
    """`module:object` of its `Card`: what people read of it."""


TASKS: dict[str, TaskEntry] = {
    CLASSIFICATION: TaskEntry("tasks.classify.labels:TASK", "tasks.classify.label_card:CARD"),
    "multi-label": TaskEntry("tasks.classify.multi_label:TASK", "tasks.classify.multi_label_card:CARD"),
    "tokens": TaskEntry("tasks.classify.tags:TASK", "tasks.classify.tag_card:CARD"),
    "questions": TaskEntry("tasks.classify.questions:TASK", "tasks.classify.question_card:CARD"),
    "choices": TaskEntry("tasks.classify.choices:TASK", "tasks.classify.choice_card:CARD"),
}
"""By the kind of the rows, which `summary.json` calls the task."""


def task_of(kind: str) -> "ClassifyTask":
    """Raises StageError for rows of another kind."""
    if kind not in TASKS:
        raise StageError(
            f"the rows are of the kind {kind}, which is not classified; expected {', '.join(TASKS)}. Give "
            "labelled rows, or name them as instructions"
        )
    return resolve_name(TASKS[kind].entry)


def card_of(evaluation: Json) -> "Card":
    """The card on the task of an `evaluation.json`."""
    return resolve_name(TASKS[evaluation.get("task", CLASSIFICATION)].card)
