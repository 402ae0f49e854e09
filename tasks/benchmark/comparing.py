"""Two models on the same tasks: what the difference of their answers, row by row, shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np

from tasks.benchmark.outputs import BITS, MEASURES
from tasks.benchmark.summary import by_task
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.statistics.comparing import paired_test
from tasks.statistics.losses import difference_of_losses


def differences(ours: Sequence[Json], theirs: Sequence[Json]) -> list[Json]:
    """Of each task, its accuracies in `ours` minus those in `theirs`, and by how many bits a byte fewer.

    Both are rows of `items.jsonl`. Positive is better for ours in all of them; each is paired row by row,
    with its 95% interval and its two-sided p-value. Raises StageError for other rows.
    """
    own, other = by_task(ours), by_task(theirs)
    if own.keys() != other.keys():
        only = ", ".join(sorted(own.keys() ^ other.keys()))
        raise StageError(f"the models were asked different tasks ({only}); ask both the same")
    return [{"task": name} | _of_task(name, own[name], other[name]) for name in own]


def of_models(models: Mapping[str, Sequence[Json]]) -> list[Json]:
    """As `differences`, of each later model minus each earlier one; `models` are their items by name."""
    return [
        {"model": model, "against": against} | found
        for against, model in combinations(models, 2)
        for found in differences(models[model], models[against])
    ]


def _of_task(name: str, ours: Sequence[Json], theirs: Sequence[Json]) -> Json:
    if [item["id"] for item in ours] != [item["id"] for item in theirs]:
        raise StageError(f"{name}: the models were asked different rows; ask both the same")
    sources = [item.get("source") for item in ours]
    found: Json = {"rows": len(ours)}
    for measure in MEASURES:
        if measure in ours[0]:
            a, b = ([item[measure] for item in side] for side in (ours, theirs))
            found[measure] = asdict(paired_test(a, b, sources, 0.0, 1.0))
    return found | ({BITS: bits} if (bits := _bits(ours, theirs)) else {})


def _bits(ours: Sequence[Json], theirs: Sequence[Json]) -> Json | None:
    """None for a single row, or rows of a single passage."""
    places: dict[object, int] = {}
    units = [places.setdefault(item.get("source", item["id"]), len(places)) for item in ours]
    if len(places) < 2:
        return None
    a, b, sizes = (
        np.bincount(units, [item[value] for item in side])
        for side, value in ((ours, "bits"), (theirs, "bits"), (ours, "bytes"))
    )
    shown = difference_of_losses(a[np.newaxis], b[np.newaxis], sizes, paired_seeds=False)
    return {"difference": shown.difference, "low": shown.low, "high": shown.high, "p": shown.p}
