"""The benchmark stage: a model asked every task of a suite through lm-eval; continued after a kill."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate

from tasks.benchmark.catalogue import HubTask, hub_tasks
from tasks.benchmark.document import document
from tasks.benchmark.likelihood import LikelihoodModel
from tasks.benchmark.outputs import (
    BITS,
    MEASURES,
    BenchmarkResults,
    Suite,
    read_questions,
    write_items,
)
from tasks.benchmark.summary import item_of, summary_of
from tasks.benchmark.tasks import LocalTask, hub_task, question_task, unfit
from tasks.compat.lm_eval_tasks import quietly
from tasks.config import BenchmarkConfig
from tasks.errors import StageError, TouchstoneError
from tasks.generate.prompted import require_writes
from tasks.machine.device import pick_device
from tasks.machine.json_files import Json, write_json
from tasks.models.kinds import require_causal
from tasks.models.loading import load_model, use_fused_gelu
from tasks.record.stage import StageRun

SPEED = "speed.json"
SHOWN = 500  # rows of a task in MLflow's table


def benchmark(
    config: BenchmarkConfig,
    run: StageRun,
    *,
    model: Path,
    suite: Path,
    data: Path | None = None,
    base: Path | None = None,
) -> None:
    """Ask the model in `model` every task of `suite`; write `benchmark.json` and `items.jsonl`.

    `data` has the rows of lm-eval's tasks, `base` the model that kept adapters were trained on. Nothing is
    generated: a choice is right whose text the model finds likeliest behind the question, in float32.

    Raises StageError for a classifier, an encoder-decoder and an encoder, and for an answer without room.
    """
    require_writes(model)
    require_causal((base or model) / "model", "benchmark")
    run.phase("loading the model")
    network, tokenizer = load_model(model / "model", base / "model" if base else None)
    network = use_fused_gelu(network).to(pick_device(config.device)).eval()
    known = {task.name: task for task in hub_tasks(config.suite)}
    tasks, items = [], []
    started = time.monotonic()
    for place, told in enumerate(Suite.read(suite).tasks):
        name = told["name"]
        run.phase(f"reading {name}")
        asked = LikelihoodModel(
            network,
            tokenizer,
            config.batch_tokens,
            run.checkpoint / f"{place}.jsonl",
            partial(_report, run, name),
        )
        with quietly():
            task = _task(told, known.get(name), suite, data)
            task.set_fewshot_seed(config.seed)
            own = list(_items(name, task, asked, config.limit, is_own="dataset" not in told))
        items += own
        flags = {"cut": asked.cut, "unknown": asked.unknown}
        tasks.append(dict(told) | summary_of(own) | flags)
    results = BenchmarkResults(tasks=tasks)
    results.write(run.out)
    write_items(run.out, items)
    write_json(run.auxiliary / SPEED, {"seconds": time.monotonic() - started, "rows": len(items)})
    run.log_metrics(_metrics(tasks))
    run.log_table(items[:SHOWN], "items.json")
    run.log_document("benchmark", document({"": results.tasks}), f"{len(tasks)} tasks")


def _report(run: StageRun, name: str, done: int, of: int) -> None:
    run.progress(done, of, "answers", name)


def _task(told: Json, known: HubTask | None, suite: Path, data: Path | None) -> LocalTask:
    if known and data:
        return hub_task(known, data)
    return question_task(told["name"], read_questions(suite, told["name"]), told["shots"])


def _items(
    name: str, task: LocalTask, asked: LikelihoodModel, limit: int | None, *, is_own: bool
) -> Iterator[Json]:
    """How the model did on each row. Raises StageError for rows that the task cannot be asked of.

    Rows of one's own say what they share with others; a data set's column of that name says something else.
    """
    try:
        found = evaluate(
            lm=asked, task_dict={"tasks": {name: task}}, limit=limit, bootstrap_iters=0, log_samples=True
        )
    except TouchstoneError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, SyntaxError) as error:
        raise unfit(name, error) from error  # of the task's own functions and templates
    for sample in found["samples"][name]:
        right, choices = _right(name, task, sample)
        source = sample["doc"].get("source") if is_own else None
        yield item_of(name, sample, right, choices, source)


def _right(name: str, task: LocalTask, sample: Json) -> tuple[int, int]:
    """The place of the right answer among the requests of a row, and how many choices there are.

    Of several right ones the likeliest. Raises StageError for a row that says of none that it is right.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0, 1
    choices = task.doc_to_choice(sample["doc"])
    target: Any = task.doc_to_text(sample["doc"]) if task.asks_inputs else sample["target"]
    places = [
        choices.index(one) if isinstance(one, str) and one in choices else one
        for one in (target if isinstance(target, list) else [target])
    ]
    if not all(isinstance(place, int) and 0 <= place < len(choices) for place in places) or not places:
        raise StageError(
            f"row {sample['doc_id']} of {name} does not say which of its {len(choices)} choices is right: "
            f"{target!r}. Its split may hide the answers; leave the task out"
        )
    return max(places, key=lambda place: sample["resps"][place][0][0]), len(choices)


def _metrics(tasks: list[Json]) -> dict[str, float]:
    found = {
        f"{task['name']}_{measure}": task[measure]["mean"]
        for task in tasks
        for measure in (*MEASURES, BITS)
        if measure in task
    }
    return found | {f"{task['name']}_chance": task["chance"] for task in tasks}
