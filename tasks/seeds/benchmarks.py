"""What several trainings of one recipe come to on the tasks of a benchmark, and later models against earlier.

The numbers have the names that those of one training have, so that both are shown alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import stdev

from tasks.benchmark.comparing import fewer_bits
from tasks.benchmark.outputs import BITS, MEASURE, MEASURES, BenchmarkResults, read_items
from tasks.benchmark.summary import bits_of, by_task
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.statistics.intervals import Sources
from tasks.statistics.seeds import OverSeeds, gain_over_seeds, over_seeds

Items = Sequence[Sequence[Json]]
"""The items of a task by seed, of the same rows in the same order."""


def benchmarks_over_seeds(models: Mapping[str, Sequence[Path]]) -> Json:
    """`models` with their tasks, and `differences` of each later model minus each earlier one, seed by seed.

    `models` are their results by name, in the order of the seeds. Accuracies and bits per byte have 95%
    intervals over rows and trainings, `by_seed` and its standard deviation `sd`, None of one seed.

    Raises StageError when seeds were not asked the same rows.
    """
    told = {model: BenchmarkResults.read(folders[0]).tasks for model, folders in models.items()}
    items = {model: _items(folders) for model, folders in models.items()}
    return {
        "models": [
            {"model": model, "tasks": [dict(task) | _summary(own[task["name"]]) for task in told[model]]}
            for model, own in items.items()
        ],
        "differences": [
            {"model": model, "against": against, "task": name} | _difference(ours, items[against][name])
            for against, model in combinations(items, 2)
            for name, ours in items[model].items()
        ],
    }


def _items(folders: Sequence[Path]) -> dict[str, Items]:
    """Of each task, by seed."""
    by_seed = [by_task(read_items(folder)) for folder in folders]
    rows = [{name: [one["id"] for one in own] for name, own in tasks.items()} for tasks in by_seed]
    if any(own != rows[0] for own in rows):
        raise StageError("the seeds were not asked the same rows of the benchmark; run again")
    return {name: [tasks[name] for tasks in by_seed] for name in by_seed[0]}


def _summary(items: Items) -> Json:
    sources, known = _sources(items), _measures(items)
    found = {name: _numbers(over_seeds(_values(items, name), 0.0, 1.0, sources)) for name in known}
    each, sizes, most = bits_of([one for own in items for one in own])
    rows = len(items[0])
    bits = [each[start : start + rows] for start in range(0, len(each), rows)]
    found[BITS] = _numbers(over_seeds(bits, 0.0, most, sources, sizes[:rows]))
    return found | {"above_chance": found[MEASURE]["low"] > sum(one["chance"] for one in items[0]) / rows}


def _difference(ours: Items, theirs: Items) -> Json:
    found: Json = {"rows": len(ours[0])}
    for name in _measures(ours):
        gain = gain_over_seeds(_values(ours, name), _values(theirs, name), _sources(ours), 0.0, 1.0)
        numbers = _numbers(gain)
        found[name] = {"difference": numbers.pop("mean"), **numbers, "p": gain.p}
    if bits := fewer_bits(ours, theirs):
        by_seed = bits["by_seed"]
        found[BITS] = bits | {"sd": stdev(by_seed) if len(by_seed) > 1 else None}
    return found


def _measures(items: Items) -> Iterator[str]:
    return (name for name in MEASURES if name in items[0][0])


def _values(items: Items, measure: str) -> list[list[float]]:
    return [[one[measure] for one in own] for own in items]


def _sources(items: Items) -> Sources:
    return [one.get("source") for one in items[0]]


def _numbers(found: OverSeeds) -> Json:
    names = ("mean", "low", "high", "rows_low", "rows_high", "by_seed", "sd")
    return {name: value for name, value in asdict(found).items() if name in names}
