"""Which rows and texts the card shows: by a rule, over the whole range, never picked."""

import random
from collections import Counter
from collections.abc import Sequence

ScoredRow = tuple[int, str | None, float | None]
"""Id, category, and the last model's score; None where it is missing."""

WORST = 3  # one in so many samples is of the lowest scores


def worst_first(rows: Sequence[ScoredRow], count: int, seed: int) -> tuple[list[int], int]:
    """Ids of at most `count` rows, and how many of them, at the beginning, are those of the lowest scores.

    A third is of the lowest scores, as far as these are below the highest; the others are drawn over the
    whole range of what is left. A few failures among many good rows would else never be seen.
    """
    if count >= len(rows):
        return draw(rows, count, seed), 0
    ordered = _by_score(rows, seed)
    top = ordered[-1][2]
    worst = [row for row in ordered if row[2] != top][: count // WORST]
    ids = [row[0] for row in worst]
    left = [row for row in rows if row[0] not in ids]
    return ids + draw(left, count - len(ids), seed), len(ids)


def lowest_first(rows: Sequence[ScoredRow], seed: int) -> list[int]:
    """The ids of all rows, from the lowest score to the highest."""
    return [row[0] for row in _by_score(rows, seed)]


def _by_score(rows: Sequence[ScoredRow], seed: int) -> list[ScoredRow]:
    """Missing first, ties by lot."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    return sorted(shuffled, key=lambda row: -1.0 if row[2] is None else row[2])


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
