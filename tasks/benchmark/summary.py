"""What a model's answers to a task come to: accuracy beside chance, and the bits of the right answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.benchmark.outputs import BITS, MEASURE, MEASURES
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.statistics.bounded import mean_interval, weighted_interval


def item_of(task: str, sample: Mapping[str, Any], right: int, choices: int, source: str | None) -> Json:
    """A row as it is kept, of what lm-eval tells of it.

    `right` is the place of a right answer among the requests, `choices` how many of those are choices: one
    of a text that is continued, whose chance to be right by luck is none. `source` is what the row
    shares with others.
    """
    context, text = sample["arguments"][right][:2]
    (value, _), *_ = sample["resps"][right]
    moved = len(context) - len(context.rstrip())  # spaces that are counted to the answer
    found = {"task": task, "id": sample["doc_id"]}
    found |= {name: float(sample[name]) for name in MEASURES if name in sample}
    found |= {
        "chance": 1.0 / choices if choices > 1 else 0.0,
        "bits": -value / math.log(2.0),
        "bytes": len(text.encode()) + moved,
    }
    return found | ({"source": source} if source else {})


def summary_of(items: Sequence[Json]) -> Json:
    """Accuracies with their 95% intervals, the chance level, and bits per byte of the right answers.

    `above_chance` says whether all of the accuracy's interval lies above the level of guessing. Bits per byte
    are all bits over all bytes: a long answer weighs more. Raises StageError for no item.
    """
    if not items:
        raise StageError("the task has no rows")
    sources = [item.get("source") for item in items]
    chance = sum(item["chance"] for item in items) / len(items)
    measures = {
        name: _interval(mean_interval([item[name] for item in items], 0.0, 1.0, sources))
        for name in MEASURES
        if name in items[0]
    }
    each, sizes, most = bits_of(items)
    return {
        "asked": len(items),
        "chance": chance,
        **measures,
        "above_chance": measures[MEASURE]["low"] > chance,
        BITS: _interval(weighted_interval(each, sizes, 0.0, most, sources)),
    }


def bits_of(items: Sequence[Json]) -> tuple[list[float], list[float], float]:
    """Of each item the bits per byte of the right answer and its bytes; and twice the most bits per byte."""
    each = [item["bits"] / item["bytes"] for item in items]
    return each, [float(item["bytes"]) for item in items], 2.0 * max(1.0, *each)


def by_task(items: Iterable[Json]) -> dict[str, list[Json]]:
    """The items of each task, in their order."""
    found: dict[str, list[Json]] = {}
    for item in items:
        found.setdefault(item["task"], []).append(item)
    return found


def _interval(found: tuple[float, float, float]) -> Json:
    return dict(zip(("mean", "low", "high"), found, strict=True))
