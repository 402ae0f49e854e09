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
    if bits := fewer_bits([ours], [theirs]):
        found[BITS] = {name: bits[name] for name in ("difference", "low", "high", "p")}
    return found


def fewer_bits(ours: Sequence[Sequence[Json]], theirs: Sequence[Sequence[Json]]) -> Json | None:
    """By how many bits a byte `ours` has fewer on the same rows; both are items by seed, paired.

    With the 95% interval, the two-sided p-value and the difference `by_seed`; None for a single row, or rows
    of a single passage.
    """
    places: dict[object, int] = {}
    units = [places.setdefault(item.get("source", item["id"]), len(places)) for item in ours[0]]
    if len(places) < 2:
        return None
    a, b = (
        np.array([np.bincount(units, [item["bits"] for item in own]) for own in side])
        for side in (ours, theirs)
    )
    sizes = np.bincount(units, [item["bytes"] for item in ours[0]])
    found = asdict(difference_of_losses(a, b, sizes, paired_seeds=True))
    return {name: found[name] for name in ("difference", "low", "high", "p", "by_seed")}
