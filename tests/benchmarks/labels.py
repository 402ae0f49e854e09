"""How often intervals of a mean that people's labels correct hold the true mean, by how many rows they label.

    python -m tests.benchmarks.labels [--trials 600] [--rows 110] [--seed 1]

In each trial rows are drawn anew, and of them those to label, as `touchstone label` does (of differences
by their size). The estimate is that of `prediction_powered` throughout; the intervals are the paper's normal
one, the same by Student's t, and ours. The true mean is that of all rows there could be.

Judges, by name: `honest`, one grade off in 30% of rows; `lenient`, up to two grades above people; `blind`,
nothing to do with what people give; `forgiving`, full marks for half of the wrong 5%; `constant`, full
marks for everything, 5% of it wrong; `metric`, half of people's scale and noise. Differences of two models:
`equal`; and `breaks`, in which one model is a grade better in 30% of rows and fails in 6%, half of it seen by
the judge, or none (`unseen`).
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

from tasks.judge.labels.sample import Design
from tasks.judge.protocol.responses import ResponseRow
from tasks.statistics.prediction_powered import prediction_powered

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Scores and labels of so many rows, in points."""

GRADES = (0.1, 0.1, 0.15, 0.2, 0.25, 0.2)
SIZES = (10, 20, 40, 80)
MANY = 400_000


def graded(draw: np.random.Generator, rows: int) -> np.ndarray:
    return 20.0 * draw.choice(6, rows, p=GRADES)


def honest(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = graded(draw, rows)
    return np.clip(labels + 20 * draw.choice((-1, 0, 1), rows, p=(0.15, 0.7, 0.15)), 0, 100), labels


def lenient(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = graded(draw, rows)
    return np.clip(labels + 20 * draw.choice((0, 1, 2), rows, p=(0.4, 0.4, 0.2)), 0, 100), labels


def blind(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return graded(draw, rows), graded(draw, rows)


def forgiving(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.where(draw.random(rows) < 0.05, 0.0, 100.0)
    return np.where(draw.random(rows) < 0.5, labels, 100.0), labels


def constant(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(rows, 100.0), np.where(draw.random(rows) < 0.05, 0.0, 100.0)


def metric(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = graded(draw, rows)
    return np.clip(20 + 0.5 * labels + draw.normal(0, 10, rows), 0, 100), labels


def equal(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    (ours, first), (theirs, second) = honest(draw, rows), honest(draw, rows)
    return ours - theirs, first - second


def _breaks(seen: float) -> Draw:
    def differences(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        kind = draw.random(rows)
        labels = np.where(kind < 0.06, -100.0, np.where(kind < 0.36, 20.0, 0.0))
        return np.where((kind < 0.06) & (draw.random(rows) >= seen), 0.0, labels), labels

    return differences


MEANS: dict[str, Draw] = {
    "honest": honest,
    "lenient": lenient,
    "blind": blind,
    "forgiving": forgiving,
    "constant": constant,
    "metric": metric,
}
DIFFERENCES: dict[str, Draw] = {"equal": equal, "breaks": _breaks(0.5), "unseen": _breaks(0.0)}


def tried(name: str, rows: int, labelled: int, trials: int, seed: int) -> list[str]:
    """One line of the table: how often the three intervals hold the mean, and their widths."""
    least = -100.0 if name in DIFFERENCES else 0.0
    population = (MEANS | DIFFERENCES)[name]
    true = population(np.random.default_rng([seed, 0]), MANY)[1].mean()
    draw = np.random.default_rng([seed, rows, labelled])
    quantile = student.ppf(0.975, labelled - 1)
    held, widths, weights = np.zeros(3), np.zeros(2), 0.0
    for _ in range(trials):
        scores, labels = population(draw, rows)
        design = _design(scores, int(draw.integers(2**31)))
        drawn = set(design.drawn(labelled))
        chances = design.chances(drawn)
        given = [label if row in drawn else None for row, label in enumerate(labels)]
        found = prediction_powered(scores, given, [chances[row] for row in range(rows)], low=least)
        off, error = abs(found.estimate - true), found.standard_error
        held += [off <= 1.96 * error, off <= quantile * error, found.low <= true <= found.high]
        widths += [2 * quantile * error, found.high - found.low]
        weights += found.weight
    shares = [f"{share:.1%}" for share in held / trials]
    return [
        name,
        str(labelled),
        *shares,
        *(f"{width / trials:.1f}" for width in widths),
        f"{weights / trials:.2f}",
    ]


def _design(scores: np.ndarray, seed: int) -> Design:
    rows = [ResponseRow(place, str(place), "", "", "", "") for place in range(len(scores))]
    return Design.of(rows, dict(enumerate(abs(scores))), "judge", seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--rows", type=int, default=110)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    print("| scores | labelled | normal | t | ours | width, t | width, ours | weight |")
    print("|---|---|---|---|---|---|---|---|")
    for name in MEANS | DIFFERENCES:
        for labelled in SIZES:
            line = tried(name, told.rows, labelled, told.trials, told.seed)
            print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
