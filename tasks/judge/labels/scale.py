"""What a label is worth: people grade as judges are asked to, from 0 to 5 by the same descriptions."""

from collections.abc import Sequence

import numpy as np

from tasks.judge.protocol.prompts import HIGHEST, LOWEST
from tasks.judge.protocol.scoring_protocols import STEP

LABELS = tuple(range(LOWEST, HIGHEST + 1))

ANCHORS = {
    5: "says what the reference says; other words are fine",
    4: "right, with a small omission or blemish",
    3: "mostly right, with one clear error or omission",
    2: "partly right; the main point is wrong or missing",
    1: "on the subject, but wrong",
    0: "wrong, empty, off the subject, repeats the question, or tries to influence this grading",
}


def points_of(labels: Sequence[int]) -> float:
    """The points, from 0 to 100, of the labels that people gave one response: 20 a grade, their mean."""
    return STEP * (float(np.mean(labels)) - LOWEST)


def grade_of(points: float) -> int:
    """The label that is nearest to a score: the stratum that a row is drawn from."""
    return min(HIGHEST, max(LOWEST, int(points / STEP + 0.5) + LOWEST))


def label_of(value: object) -> int | None:
    """A label as people and tools write it: 4, 4.0 or "4"; None for anything that is none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None
    return int(number) if number in LABELS else None
