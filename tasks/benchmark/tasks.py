"""Tasks as lm-eval asks them, over rows that are here already: nothing is loaded from a hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from tasks.benchmark.catalogue import HubTask
from tasks.benchmark.outputs import MEASURE, NORMED
from tasks.compat.lm_eval_tasks import described
from tasks.errors import StageError
from tasks.machine.json_files import Json, read_lines

QUESTIONS = "test"  # the split that one's own questions are
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


class LocalTask(ConfigurableTask):
    """A task of lm-eval that reads its rows from memory."""

    def __init__(self, config: dict[str, Any], rows: Mapping[str, Sequence[Json]]) -> None:
        self._rows = rows
        super().__init__(config=config)

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        self.dataset = {split: _dataset(rows) for split, rows in self._rows.items()}

    @property
    def asks_inputs(self) -> bool:
        """Whether the choices are what is asked about, with one answer to all, as in WinoGrande."""
        return bool(self.multiple_input)


def _dataset(rows: Sequence[Json]) -> Dataset:
    """With the columns of all rows; `Dataset.from_list` takes those of the first."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return Dataset.from_dict({name: [row.get(name) for row in rows] for name in columns})


def hub_task(task: HubTask, data: Path) -> LocalTask:
    """A task of lm-eval over the files TASK/SPLIT.jsonl of `data`.

    Raises StageError for rows that the task cannot be asked of.
    """
    rows = {split: read_lines(data / task.name / f"{split}.jsonl") for split in task.splits}
    config = described(task.path)
    own = {name: config[name] for name in SPLITS if config.get(name) in rows}
    if not task.shots:
        own = {name: split for name, split in own.items() if name in ("validation_split", "test_split")}
        config["fewshot_config"] = None
    config = {name: value for name, value in config.items() if name not in SPLITS} | own
    try:
        return LocalTask(config | {"num_fewshot": task.shots}, rows)
    except Exception as error:  # of the task's functions and templates, which may raise anything
        raise unfit(task.name, error) from error


def question_task(name: str, rows: Sequence[Json], shots: int) -> LocalTask:
    """Questions of one's own, asked as lm-eval asks ARC's."""
    config = {
        "task": name,
        "output_type": "multiple_choice",
        "test_split": QUESTIONS,
        "fewshot_split": QUESTIONS,
        "doc_to_text": asked,
        "doc_to_choice": lambda row: row["choices"],
        "doc_to_target": lambda row: row["answer"],
        "num_fewshot": shots,
        "metric_list": [
            {"metric": measure, "aggregation": "mean", "higher_is_better": True}
            for measure in (MEASURE, NORMED)
        ],
    }
    return LocalTask(config, {QUESTIONS: rows})


def asked(row: Mapping[str, Any]) -> str:
    """What stands before the choices."""
    context = f"{row['context']}\n" if row.get("context") else ""
    return f"{context}Question: {row['prompt']}\nAnswer:"


def unfit(name: str, error: Exception) -> StageError:
    """What a person is told of a task that fails on its own data."""
    reason = str(error).strip().splitlines()
    return StageError(
        f"the task {name} of lm-eval cannot be asked of its data: {type(error).__name__}: "
        f"{reason[0] if reason else 'no reason is given'}. Its data set may have changed: name another "
        "commit in benchmark.revisions, or leave the task out"
    )
