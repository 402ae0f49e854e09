"""Which rows the card shows: drawn by seed over the whole range of scores, never picked."""

import random
from collections import Counter
from collections.abc import Sequence

ScoredRow = tuple[int, str | None, float | None]
"""Id, category, and the fine-tuned model's score; None where it is missing."""


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
