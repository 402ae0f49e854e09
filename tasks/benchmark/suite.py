"""The suite stage: the tasks of a benchmark with their rows, read and checked before there is a model."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tasks.benchmark.catalogue import PACKAGE, HubTask, hub_tasks
from tasks.benchmark.outputs import Suite, write_questions
from tasks.config import RowsConfig, SuiteConfig
from tasks.data.reading import RowError
from tasks.data.source_files import ending_of
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.rows.files import DataFile, data_files, records_of, survey
from tasks.rows.formats import Layout, check_columns, layout_of

if TYPE_CHECKING:  # MLflow imports pandas and pyarrow
    from tasks.record.stage import StageRun

FORMAT = "choices"  # of rows


def suite(
    config: SuiteConfig, run: "StageRun", *, data: Path | None = None, questions: Path | None = None
) -> None:
    """Write `suite.json`, and the rows of one's own questions.

    `data` has TASK/SPLIT.jsonl for each task of lm-eval, `questions` files of multiple-choice rows.

    Raises StageError for files and rows that cannot be used, for tasks that cannot be asked of their rows,
    and for more answered examples than there are rows to draw them from.
    """
    found = [_of_hub(task, data, run) for task in hub_tasks(config)] if data else []
    for name, rows in _questions(config, run, questions) if questions else ():
        if name in {task["name"] for task in found}:
            raise StageError(f"two tasks are called {name}. Rename the file of your own")
        shots = config.shots or 0
        if shots >= len(rows):
            raise StageError(
                f"{name} has {len(rows)} rows, and {shots} answered examples are to stand before each, which "
                "are drawn from the others. Set benchmark.shots lower, or give more rows"
            )
        write_questions(run.out, name, rows)
        found.append({"name": name, "rows": len(rows), "shots": shots})
    Suite(lm_eval=run.fingerprints[PACKAGE], tasks=found).write(run.out)
    run.log_metrics({f"{task['name']}_rows": task["rows"] for task in found})
    rows = sum(task["rows"] for task in found)
    run.progress(rows, rows, "rows", f"{len(found)} tasks")


def _of_hub(task: HubTask, data: Path, run: "StageRun") -> Json:
    from tasks.benchmark.tasks import hub_task, unfit
    from tasks.compat.lm_eval_tasks import quietly

    run.phase(f"reading {task.name}")
    with quietly():
        read = hub_task(task, data)
        try:
            rows = len(read.eval_docs)
            read.set_fewshot_seed(0)
            read.build_all_requests(limit=1)
        except Exception as error:  # of the task's functions and templates, which may raise anything
            raise unfit(task.name, error) from error
    return {
        "name": task.name,
        "rows": rows,
        "shots": task.shots,
        "dataset": task.dataset,
        "subset": task.subset,
        "split": task.split,
    }


def _questions(config: SuiteConfig, run: "StageRun", folder: Path) -> Iterator[tuple[str, list[Json]]]:
    """The name and the rows of each source of questions, which is a file or a folder."""
    reading = RowsConfig(format=FORMAT, columns=config.columns, splits="drawn")
    check_columns(reading)
    found: dict[str, list[Json]] = {}
    with TemporaryDirectory(dir=run.checkpoint) as scratch:
        for file in data_files(folder, reading, Path(scratch), run.say):
            found.setdefault(_task_name(file.name), []).extend(_rows(file, reading))
    for name, rows in found.items():
        yield name, [{"id": place} | row for place, row in enumerate(_with_sources(rows))]


def _task_name(file: str) -> str:
    """`quiz` of `quiz.jsonl.gz`; of a file in a folder the folder's."""
    first = PurePosixPath(file).parts[0]
    return first[: first.lower().rindex(ending)] if (ending := ending_of(first)) else first


def _rows(file: DataFile, reading: RowsConfig) -> Iterator[Json]:
    columns, sample = survey(file, reading)
    try:
        layout: Layout = layout_of(file.name, columns, reading, sample)
    except StageError as error:
        raise StageError(
            f"{error} Of questions the format is always {FORMAT}, and rows.columns is benchmark.columns"
        ) from error
    for record in records_of(file, reading, _stop):
        try:
            yield layout.row(record)
        except RowError as error:
            _stop(error)


def _stop(error: RowError) -> None:
    raise StageError(f"{error}. Fix the row, or take it out") from error


def _with_sources(rows: list[Json]) -> Iterator[Json]:
    """Rows that share a passage name the first of them: their answers are not independent."""
    contexts = [row.get("context") for row in rows]
    first = {context: place for place, context in reversed([*enumerate(contexts)])}
    for row, context in zip(rows, contexts, strict=True):
        shared = context is not None and contexts.count(context) > 1
        yield row | ({"source": f"row {first[context]}"} if shared else {})
