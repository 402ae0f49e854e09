"""How often intervals over seeds and rows hold the true mean, at few seeds, by simulation.

    python -m tests.benchmarks.seeds [--trials 1000] [--seed 1]

In each trial rows and seeds are drawn anew, and every seed is scored on the same rows; a right interval of
95% holds the mean of the recipe (over all rows and seeds that could be drawn) in 95% of trials at least.
Those tried: `rows alone`, as one run's card has it, of the rows' means over the seeds; `resampled`, the
percentile bootstrap that draws seeds, then rows, with replacement (1,000 times); and `seeds.py`, Student's t
on the seeds' means joined with the interval of the rows. Then two recipes that are equal, each with so many
seeds, on the same rows: how often one is called better, where 5% are right.

Scores, of a true mean of 50: `continuous`, rows vary by 20 points, seeds by SD points, and each answer by
15; `right or wrong`, a row's chance is from 0.2 to 0.8, times what the seed makes of it; `breaks`,
continuous, and one seed in ten ends 30 points lower.

With 400 trials, of 110 rows: intervals that hold the true mean, in % (95 are right), by the number of seeds;

| scores | method | 2 seeds | 3 seeds | 5 seeds | 10 seeds |
| --- | --- | --- | --- | --- | --- |
| continuous, SD 1 | resampled | 94.2 | 96.5 | 97.2 | 94.2 |
| continuous, SD 1 | seeds.py | 99.5 | 99.0 | 99.2 | 97.5 |
| continuous, SD 3 | rows alone | 87.5 | 91.5 | 93.8 | 94.0 |
| continuous, SD 3 | resampled | 90.5 | 93.5 | 95.5 | 93.8 |
| continuous, SD 3 | seeds.py | 99.5 | 98.5 | 98.5 | 97.0 |
| continuous, SD 10 | rows alone | 50.7 | 53.8 | 64.5 | 76.2 |
| continuous, SD 10 | resampled | 73.0 | 82.8 | 88.0 | 91.2 |
| continuous, SD 10 | seeds.py | 97.2 | 96.0 | 96.0 | 95.5 |
| right or wrong, SD 6 | resampled | 91.2 | 95.0 | 97.0 | 98.0 |
| right or wrong, SD 6 | seeds.py | 98.2 | 98.8 | 98.2 | 98.8 |
| breaks | resampled | 76.5 | 80.8 | 78.2 | 88.2 |
| breaks | seeds.py | 95.2 | 93.0 | 85.5 | 92.8 |

and equal recipes of which one is called better, in % (5 at most).

| scores | method | 2 and 2 seeds | 3 and 3 seeds | 2 and 5 seeds | 5 and 5 seeds |
| --- | --- | --- | --- | --- | --- |
| continuous, SD 3 | rows alone | 19.0 | 11.5 | 15.2 | 5.0 |
| continuous, SD 3 | resampled | 14.8 | 9.2 | 11.8 | 5.5 |
| continuous, SD 3 | seeds.py | 0.2 | 0.8 | 0.0 | 0.2 |
| continuous, SD 10 | rows alone | 63.0 | 63.2 | 58.2 | 55.8 |
| continuous, SD 10 | resampled | 31.0 | 18.0 | 23.8 | 13.2 |
| continuous, SD 10 | seeds.py | 0.8 | 2.2 | 1.0 | 3.0 |
| breaks | rows alone | 31.5 | 40.0 | 48.0 | 53.2 |
| breaks | resampled | 5.8 | 5.5 | 5.5 | 6.2 |
| breaks | seeds.py | 1.5 | 0.5 | 0.8 | 0.2 |

Where one training in ten breaks, no interval of five seeds can know it: most such groups have none that did.
"""

import argparse
from collections.abc import Callable

import numpy as np

from tasks.statistics.seeds import difference_of_recipes, over_seeds

Draw = Callable[[np.random.Generator, int, int, int], np.ndarray]
"""Scores of shape (recipes, seeds, rows)."""

SEEDS, ROWS = (2, 3, 5, 10), (30, 110)
RESAMPLES = 1000
TRUE = 50.0


def continuous(sd: float) -> Draw:
    def draw(random: np.random.Generator, recipes: int, seeds: int, rows: int) -> np.ndarray:
        of_seeds = random.normal(0, sd, (recipes, seeds, 1))
        found = TRUE + random.normal(0, 20, rows) + of_seeds + random.normal(0, 15, (recipes, seeds, rows))
        return np.clip(found, 0, 100)

    return draw


def right_or_wrong(sd: float) -> Draw:
    def draw(random: np.random.Generator, recipes: int, seeds: int, rows: int) -> np.ndarray:
        width = sd / TRUE * 3**0.5
        chances = random.uniform(0.2, 0.8, rows) * random.uniform(1 - width, 1 + width, (recipes, seeds, 1))
        return 100.0 * (random.random((recipes, seeds, rows)) < chances)

    return draw


def breaks(random: np.random.Generator, recipes: int, seeds: int, rows: int) -> np.ndarray:
    fallen = 30.0 * (random.random((recipes, seeds, 1)) < 0.1) - 3.0
    return np.clip(continuous(1)(random, recipes, seeds, rows) - fallen, 0, 100)


SCORES: dict[str, Draw] = {
    "continuous, SD 0": continuous(0),
    "continuous, SD 1": continuous(1),
    "continuous, SD 3": continuous(3),
    "continuous, SD 10": continuous(10),
    "right or wrong, SD 2": right_or_wrong(2),
    "right or wrong, SD 6": right_or_wrong(6),
    "breaks": breaks,
}


def resampled(random: np.random.Generator, scores: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap of seeds, then rows; `scores` are of shape (seeds, rows)."""
    seeds, rows = scores.shape
    drawn = random.integers(0, seeds, (RESAMPLES, seeds))
    counts = np.stack([np.bincount(one, minlength=seeds) for one in drawn]) / seeds
    places = random.integers(0, rows, (RESAMPLES, rows))
    weights = np.stack([np.bincount(one, minlength=rows) for one in places]) / rows
    low, high = np.percentile(((counts @ scores) * weights).sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def coverage(draw: Draw, seeds: int, rows: int, trials: int, seed: int) -> dict[str, float]:
    """The share of trials whose interval holds the true mean, by method."""
    random = np.random.default_rng([seed, seeds, rows])
    held = dict.fromkeys(("rows alone", "resampled", "seeds.py"), 0)
    for _ in range(trials):
        scores = draw(random, 1, seeds, rows)[0]
        found = over_seeds(scores.tolist())
        low, high = resampled(random, scores)
        held["rows alone"] += found.rows_low <= TRUE <= found.rows_high
        held["resampled"] += low <= TRUE <= high
        held["seeds.py"] += found.low <= TRUE <= found.high
    return {method: count / trials for method, count in held.items()}


def called_better(draw: Draw, seeds: tuple[int, int], rows: int, trials: int, seed: int) -> dict[str, float]:
    """The share of trials in which one of two equal recipes is called better than the other."""
    random = np.random.default_rng([seed, *seeds, rows])
    called = dict.fromkeys(("rows alone", "resampled", "seeds.py"), 0)
    for _ in range(trials):
        both = draw(random, 2, max(seeds), rows)
        a, b = both[0, : seeds[0]], both[1, : seeds[1]]
        found = difference_of_recipes(a.tolist(), b.tolist())
        low, high = _resampled_difference(random, a, b)
        called["rows alone"] += not found.rows_low <= 0 <= found.rows_high
        called["resampled"] += not low <= 0 <= high
        called["seeds.py"] += found.p <= 0.05
    return {method: count / trials for method, count in called.items()}


def _resampled_difference(random: np.random.Generator, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    rows = a.shape[1]
    means = []
    for scores in (a, b):
        drawn = random.integers(0, len(scores), (RESAMPLES, len(scores)))
        counts = np.stack([np.bincount(one, minlength=len(scores)) for one in drawn]) / len(scores)
        means.append(counts @ scores)
    places = random.integers(0, rows, (RESAMPLES, rows))
    weights = np.stack([np.bincount(one, minlength=rows) for one in places]) / rows
    low, high = np.percentile(((means[0] - means[1]) * weights).sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("intervals of 95% that hold the true mean, in % of trials\n")
    _head("scores", "rows", "method", *(f"{seeds} seeds" for seeds in SEEDS))
    for scores, draw in SCORES.items():
        for rows in ROWS:
            found = [coverage(draw, seeds, rows, given.trials, given.seed) for seeds in SEEDS]
            _lines(scores, rows, found)
    pairs = ((2, 2), (3, 3), (2, 5), (5, 5))
    print("\nequal recipes, one called better, in % of trials (5 at most)\n")
    _head("scores", "rows", "method", *(f"{a} and {b} seeds" for a, b in pairs))
    for scores, draw in SCORES.items():
        for rows in ROWS:
            found = [called_better(draw, seeds, rows, given.trials, given.seed) for seeds in pairs]
            _lines(scores, rows, found)


def _head(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}")


def _lines(scores: str, rows: int, found: list[dict[str, float]]) -> None:
    for method in found[0]:
        told = " | ".join(f"{100 * one[method]:.1f}" for one in found)
        print(f"| {scores} | {rows} | {method} | {told} |", flush=True)


if __name__ == "__main__":
    main()
