"""Which rows and texts the card shows: by a rule, over the whole range, never picked."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

ScoredRow = tuple[int, str | None, float | None]
"""Id, category, and the fine-tuned model's score; None where it is missing."""

Item = TypeVar("Item")


def draw(rows: Sequence[ScoredRow], count: int, seed: int) -> list[int]:
    """Ids of at most `count` rows, from the lowest score to the highest.

    The rows are ordered by score (missing first, ties by lot) and cut into `count` equal parts. Each part
    gives one row, from the category of which the fewest were drawn so far, so that the sample has the
    scores of the whole and as many categories as there is room for.
    """
    lot = random.Random(seed)
    shuffled = list(rows)
    lot.shuffle(shuffled)
    ordered = sorted(shuffled, key=lambda row: -1.0 if row[2] is None else row[2])
    count = min(count, len(ordered))
    drawn: list[int] = []
    seen: Counter[str | None] = Counter()
    for index in range(count):
        part = ordered[len(ordered) * index // count : len(ordered) * (index + 1) // count]
        fewest = min(seen[category] for _, category, _ in part)
        row, category, _ = lot.choice([row for row in part if seen[row[1]] == fewest])
        seen[category] += 1
        drawn.append(row)
    return drawn


def spread(rows: Sequence[Item], count: int) -> list[Item]:
    """At most `count` rows: first, last, and evenly between; the last if it is only one."""
    if len(rows) <= count:
        return list(rows)
    if count == 1:
        return [rows[-1]]
    return [rows[(len(rows) - 1) * index // (count - 1)] for index in range(count)]
