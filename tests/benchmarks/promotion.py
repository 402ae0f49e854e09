"""How often a model that is no better is called better, and one that is better, by the tests there are.

    python -m tests.benchmarks.promotion [--trials 4000] [--seed 1]

Both models have the same true mean score, over rows drawn anew in each trial; a right test calls the second
one better in 2.5% of trials at most. Those tried: the percentile bootstrap of 1,000 resamples, which
promotion used with 5 rows or more; that with a sign-flip test of 5% on top, which `compare` used; the
bootstrap-t and Student's t; and `paired_test`, which both use now. Then, of a model whose
mean is truly some points higher, how often Student's t and `paired_test` say so.

Scores (0 to 100) of equal models, by name: `right or wrong`, each right in 60% of rows; `continuous`, a
difference with a standard deviation of 30 points; `few values`, of 0 to 100 in steps of 20; `skewed`, most
rows near 0; `skewed one way`, a difference that is mostly a little above 0 and seldom far below; `breaks`,
one model 5 points better in 95% of rows, give or take 2, and 95 worse in the others, as one that may loop.

"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

from tasks.statistics.bounded import bounded_chance
from tasks.statistics.verdicts import SURE

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Differences of so many rows, of shape (rows,)."""
Test = Callable[[np.random.Generator, np.ndarray], bool]
"""Whether differences show that the first model is better."""

SIZES = (5, 8, 12, 20, 50, 110)
RESAMPLES, SIGNS = 1000, 1000
FEW = (0.1, 0.1, 0.2, 0.3, 0.2, 0.1)


def right_or_wrong(draw: np.random.Generator, rows: int) -> np.ndarray:
    first, second = draw.random((2, rows)) < 0.6
    return 100.0 * first - 100.0 * second


def continuous(draw: np.random.Generator, rows: int) -> np.ndarray:
    return np.clip(draw.normal(0, 30, rows), -100, 100)


def few_values(draw: np.random.Generator, rows: int) -> np.ndarray:
    first, second = 20.0 * draw.choice(len(FEW), (2, rows), p=FEW)
    return first - second


def skewed(draw: np.random.Generator, rows: int) -> np.ndarray:
    first, second = 100 * draw.beta(0.2, 2, (2, rows))
    return first - second


def skewed_one_way(draw: np.random.Generator, rows: int) -> np.ndarray:
    return 100 * (1 / 3 - draw.beta(1, 2, rows))


def breaks(draw: np.random.Generator, rows: int) -> np.ndarray:
    return np.where(draw.random(rows) < 0.05, -95, 5) + draw.uniform(-2, 2, rows)


EQUAL: dict[str, Draw] = {
    "right or wrong": right_or_wrong,
    "continuous": continuous,
    "few values": few_values,
    "skewed": skewed,
    "skewed one way": skewed_one_way,
    "breaks": breaks,
}


def bootstrap(draw: np.random.Generator, differences: np.ndarray) -> bool:
    rows = draw.integers(0, differences.size, (RESAMPLES, differences.size))
    return bool(np.percentile(differences[rows].mean(axis=1), 2.5) > 0)


def bootstrap_and_signs(draw: np.random.Generator, differences: np.ndarray) -> bool:
    if not bootstrap(draw, differences):
        return False
    if differences.size <= 12:
        places = np.arange(2**differences.size)[:, None] >> np.arange(differences.size) & 1
    else:
        places = draw.integers(0, 2, (SIGNS, differences.size))
    sums = (2 * places - 1) @ differences
    return bool(np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9) <= SURE)


def bootstrap_t(draw: np.random.Generator, differences: np.ndarray) -> bool:
    rows = differences[draw.integers(0, differences.size, (RESAMPLES, differences.size))]
    apart, spread = rows.mean(axis=1) - differences.mean(), rows.std(axis=1, ddof=1)
    ratios = np.divide(apart, spread, out=np.full(RESAMPLES, np.inf), where=spread > 0)
    highest = float(np.quantile(ratios, 0.975, method="higher"))
    room = highest * differences.std(ddof=1) if differences.std() > 0 else 0.0
    return bool(differences.mean() > room)


def students_t(_: np.random.Generator, differences: np.ndarray) -> bool:
    error = differences.std(ddof=1) / differences.size**0.5
    return bool(differences.mean() > student.ppf(0.975, differences.size - 1) * error)


def paired(_: np.random.Generator, differences: np.ndarray) -> bool:
    return bounded_chance(differences, -100.0, 100.0) <= SURE / 2


TESTS: dict[str, Test] = {
    "bootstrap": bootstrap,
    "and sign-flip": bootstrap_and_signs,
    "bootstrap-t": bootstrap_t,
    "Student's t": students_t,
    "paired_test": paired,
}


def share_crowned(test: Test, differences: Draw, rows: int, trials: int, seed: int) -> float:
    """In which share of trials the first model is called better."""
    draw = np.random.default_rng([seed, rows])
    return sum(test(draw, differences(draw, rows)) for _ in range(trials)) / trials


def better_by(points: float, spread: float) -> Draw:
    return lambda draw, rows: np.clip(draw.normal(points, spread, rows), -100, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("equal models, called better in % of trials (2.5 at most)\n")
    print(f"| scores | test | {' | '.join(f'{rows} rows' for rows in SIZES)} |")
    print("|" + " --- |" * (2 + len(SIZES)))
    for scores, differences in EQUAL.items():
        for name, test in TESTS.items():
            shares = [share_crowned(test, differences, rows, given.trials, given.seed) for rows in SIZES]
            print(
                f"| {scores} | {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |", flush=True
            )
    print("\na better model, called better in % of trials\n")
    print("| better by | spread | test | 30 rows | 110 rows | 300 rows | 1,000 rows |")
    print("|" + " --- |" * 7)
    for points, spread in ((5, 10), (5, 20), (5, 30), (10, 30)):
        for name in ("Student's t", "paired_test"):
            shares = [
                share_crowned(TESTS[name], better_by(points, spread), rows, given.trials // 8, given.seed)
                for rows in (30, 110, 300, 1000)
            ]
            told = " | ".join(f"{100 * share:.0f}" for share in shares)
            print(f"| {points} | {spread} | {name} | {told} |", flush=True)


if __name__ == "__main__":
    main()
