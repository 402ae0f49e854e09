"""What people's labels say of a judge's scores: means and differences corrected by them, and the agreement.

A mean is corrected over the rows that have a score. A difference is corrected over the pairs of rows that
have both scores, by the pairs that people labelled on both sides: a label on one side alone says nothing of
what the other would have been given. Its interval holds whatever the pairs without both scores would have
had.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.judge.labels.stage import Labels
from tasks.judge.protocol.scoring_protocols import TOP
from tasks.machine.json_files import Json
from tasks.statistics.agreement import krippendorff_alpha
from tasks.statistics.bounded import weighted_interval
from tasks.statistics.intervals import Sources
from tasks.statistics.prediction_powered import LEAST_UNITS, Corrected, prediction_powered
from tasks.statistics.ranking import weighted_spearman

Scores = Mapping[int, float | None]
NOTHING = ("estimate", "low", "high", "standard_error", "weight")


def corrected_mean(labels: Labels, scores: Scores, sources: Mapping[int, str | None]) -> Json:
    """One model's mean by one scorer, corrected, with how far scorer and people agree.

    `half_as_wide` is the number of labelled rows in all that would make the interval half as wide at either
    end; None where no number would.
    """
    rows = [row for row, score in scores.items() if score is not None]
    points = [labels.points(row) for row in rows]
    known = [row for row, own in zip(rows, points, strict=True) if own is not None]
    found = (
        prediction_powered(
            [scores[row] for row in rows],
            points,
            [labels.chances.get(row, 1.0) for row in rows],
            [sources.get(row) for row in rows],
        )
        if rows
        else None
    )
    told = _told(found, len(known), len(rows))
    half = None
    if found:
        half = found.labels_needed(((found.estimate - found.low) / 2, (found.high - found.estimate) / 2))
    people = Counter(person for row in known for person in labels.given[row])
    return told | {
        "half_as_wide": half,
        "people": [{"by": by, "rows": count} for by, count in sorted(people.items())],
        "agreement": _agreement(labels, known, scores, sources),
        "between_people": _between_people(labels, known),
    }


@dataclass(frozen=True)
class Pairs:
    """The same rows of two models, side by side: ids, scores, and the sources of the rows."""

    ours: Sequence[int]
    theirs: Sequence[int]
    our_scores: Sequence[float | None]
    their_scores: Sequence[float | None]
    sources: Sources


def corrected_difference(ours: Labels | None, theirs: Labels | None, pairs: Pairs) -> Json:
    """The mean difference by one scorer, corrected by pairs that are labelled on both sides.

    A pair has the chance of the rarer of its two rows, since both samples go by the same numbers; of samples
    drawn by other seeds it is the product. `to_decide` is the number of labelled pairs in all from which the
    interval would not hold 0, were the estimate to stay; None where it does not hold it now, or none would.
    """
    scored = [
        place
        for place, both in enumerate(zip(pairs.our_scores, pairs.their_scores, strict=True))
        if None not in both
    ]
    points: list[float | None] = []
    chances: list[float] = []
    for place in scored:
        a, b = pairs.ours[place], pairs.theirs[place]
        own = ours.points(a) if ours else None
        other = theirs.points(b) if theirs else None
        known = own is not None and other is not None
        points.append(own - other if known else None)
        chances.append(_chance_of_both(ours, a, theirs, b) if known else 1.0)
    count = sum(own is not None for own in points)
    missing = len(pairs.ours) - len(scored)
    found = (
        prediction_powered(
            [pairs.our_scores[place] - pairs.their_scores[place] for place in scored],
            points,
            chances,
            [pairs.sources[place] for place in scored] if pairs.sources else (),
            low=-TOP,
        )
        if scored
        else None
    )
    told = _told(found, count, len(scored)) | {"missing": missing, "to_decide": None}
    if found is None:
        return told
    share = len(scored) / len(pairs.ours)
    low, high = (share * end + (1 - share) * worst for end, worst in ((found.low, -TOP), (found.high, TOP)))
    if low <= 0.0 <= high:
        room = abs(found.estimate) - (1 - share) * TOP / share
        one_end = (room, math.inf) if found.estimate > 0.0 else (math.inf, room)
        told["to_decide"] = found.labels_needed(one_end) if room > 0.0 else None
    return told | {"low": low, "high": high}


def _told(found: Corrected | None, labelled: int, rows: int) -> Json:
    numbers = {name: getattr(found, name) if found else None for name in NOTHING}
    return numbers | {"labelled": labelled, "rows": rows, "least": LEAST_UNITS}


def _chance_of_both(ours: Labels, a: int, theirs: Labels, b: int) -> float:
    own, other = ours.chances[a], theirs.chances[b]
    return min(own, other) if ours.seed == theirs.seed else own * other


def _agreement(
    labels: Labels, rows: Sequence[int], scores: Scores, sources: Mapping[int, str | None]
) -> Json | None:
    """How far the scorer agrees with people, over labelled rows that stand for all; None without any.

    `bias` is the mean of scores minus labels, in points, with its 95% interval.
    """
    if not rows:
        return None
    given = np.array([scores[row] for row in rows])
    people = np.array([labels.points(row) for row in rows])
    counts = np.array([1.0 / labels.chances[row] for row in rows])
    mean, low, high = weighted_interval(given - people, counts, -TOP, TOP, [sources.get(row) for row in rows])
    return {
        "rows": len(rows),
        "spearman": weighted_spearman(given, people, counts),
        "kappa": _weighted_kappa(given, people, counts),
        "bias": {"mean": mean, "low": low, "high": high},
    }


def _weighted_kappa(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> float | None:
    """Quadratic-weighted kappa of ratings that stand for `counts` rows each; None where it says nothing."""
    share = counts / counts.sum()
    means = share @ a, share @ b
    expected = share @ np.square(a - means[0]) + share @ np.square(b - means[1]) + (means[0] - means[1]) ** 2
    return float(1.0 - share @ np.square(a - b) / expected) if expected > 0.0 else None


def _between_people(labels: Labels, rows: Sequence[int]) -> Json | None:
    """How far people agree on the rows that several of them labelled; None where there are none."""
    shared = [row for row in rows if len(labels.given[row]) > 1]
    if not shared:
        return None
    names = sorted({person for row in shared for person in labels.given[row]})
    ratings = [[labels.given[row].get(person) for row in shared] for person in names]
    spread = [max(own) - min(own) for own in (labels.given[row].values() for row in shared)]
    return {
        "rows": len(shared),
        "people": len(names),
        "alpha": krippendorff_alpha(ratings, "interval"),
        "apart": float(np.mean(spread)),
    }
