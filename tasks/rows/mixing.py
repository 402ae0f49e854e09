"""Training rows of several sources in the shares that are asked for: some are repeated, others left out."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.config import shares_of
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.rows.row_kind import Row

MIXED_FROM = "mixed_from"  # of a validation row, the name of the source that it is of


class MixedRows(NamedTuple):
    """The training rows in their order, those that are read again behind all that are read once."""

    rows: list[Row]
    left_out: list[Row]
    counts: dict[str, Json]
    """Of each source how many `rows` there are to train on, the `share` that was asked for, how many `drawn`
    there are, and how many `epochs` that makes."""


def mix_rows(
    train: Sequence[Row], sources: Mapping[int, str], weights: Mapping[str, float], seed: int
) -> MixedRows:
    """As many rows as before, in shares by `sources`, which names that of each row by its id.

    Every row of a source is drawn equally often, but for one time, by lot. Rows of no source, which a model
    made, stay as they are. Raises StageError for a source without a training row.
    """
    of_source: dict[str, list[int]] = {name: [] for name in weights}
    for place, row in enumerate(train):
        if row["id"] in sources:
            of_source[sources[row["id"]]].append(place)
    if lacking := [name for name, places in of_source.items() if not places]:
        raise StageError(
            f"of the source {lacking[0]!r} no row is left to train on; give it more rows, or leave it out"
        )
    shares = shares_of(weights)
    drawn = _apportioned(sum(map(len, of_source.values())), shares)
    times, draw = [1] * len(train), random.Random(seed)
    for name, places in of_source.items():
        whole, rest = divmod(drawn[name], len(places))
        once_more = set(draw.sample(places, rest))
        for place in places:
            times[place] = whole + (place in once_more)
    rows = [row for turn in range(max(times)) for row, own in zip(train, times, strict=True) if own > turn]
    counts = {
        name: {
            "rows": len(places),
            "share": shares[name],
            "drawn": drawn[name],
            "epochs": drawn[name] / len(places),
        }
        for name, places in of_source.items()
    }
    return MixedRows(rows, [row for row, own in zip(train, times, strict=True) if not own], counts)


def _apportioned(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in these shares that add up to `total`, by largest remainders."""
    counts = {name: int(total * share) for name, share in shares.items()}
    remainders = sorted(shares, key=lambda name: counts[name] - total * shares[name])
    for name in remainders[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
