"""How often a series of nightly candidates makes a false champion, and how often a better one is found.

    python -m tests.benchmarks.openings [--series 1000] [--rows 50 110 300 1000] [--spread 15] [--gain 5]

Every series has a champion, and a candidate a night that is as good, on the same test rows; one that wins is
the next champion. Before: who is better by the 95% interval on all rows wins. Now: the gate, and the sealed
rows at the level that is left, by the test of the promote stage. Two kinds of scores: of texts, where a
difference is normal with the given spread, and of labels, of which each model has 90% right.
"""

import argparse
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.registry.promote.contest import GATE_ERRORS
from tasks.registry.promote.parts import cut
from tasks.statistics.bounded import bounded_chance
from tasks.statistics.spending import level_of

Kind = Literal["texts", "labels"]
NIGHTS = 365
HOPELESS = 1.0  # standard errors of a mean that no test shows at the first level, the highest of all


@dataclass(frozen=True)
class Simulated:
    """Of all series: shares, a mean count, and points of 100."""

    false_champions: float
    """The share of series in which an equal candidate won."""
    crowned: float
    """The share of series in which the last candidate won."""
    openings: float
    """How often the sealed rows were opened, on average."""
    excess: float
    """By how much the last champion's headline is above its true mean, on average."""


def simulate(
    rows: int,
    nights: int,
    series: int,
    *,
    sealed: bool = True,
    gain: float = 0.0,
    spread: float = 15.0,
    kind: Kind = "texts",
    min_rows: int = 6,
    seed: int = 123,
) -> Simulated:
    """Series of candidates as good as the first champion; the last one is better by `gain` points."""
    generator = np.random.default_rng(seed)

    def scored(better: float) -> np.ndarray:
        if kind == "labels":
            return 100.0 * (generator.random((series, rows)) < 0.9 + better / 100)
        noise = generator.standard_normal((series, rows)) * (spread / 2**0.5)
        return np.clip(50.0 + better + noise, 0.0, 100.0)

    parts = cut({row: f"{row}" for row in range(rows)}, dict.fromkeys(range(rows)), min_rows)
    gate, behind = (sorted(part) for part in (parts.gate, parts.sealed))
    counted = behind if sealed else list(range(rows))
    champion, better = scored(0.0), np.zeros(series)
    openings, false = np.zeros(series, dtype=int), np.zeros(series, dtype=bool)
    won = false
    for night in range(nights):
        is_last = night == nights - 1
        candidate = scored(gain if is_last else 0.0)
        differences = candidate - champion
        if sealed:
            won = np.zeros(series, dtype=bool)
            for one in np.flatnonzero(above(differences[:, gate], GATE_ERRORS)):
                openings[one] += 1
                if above(differences[one : one + 1, behind], HOPELESS)[0]:
                    chance = bounded_chance(differences[one, behind], -100.0, 100.0)
                    won[one] = chance <= level_of(int(openings[one]))
        else:
            won = above(differences, 1.96)
        false |= won & (gain == 0.0 or not is_last)
        champion[won] = candidate[won]
        better[won] = gain if is_last else 0.0
    truth = 90.0 + better if kind == "labels" else 50.0 + better
    excess = champion[:, counted].mean(axis=1) - truth
    return Simulated(float(false.mean()), float(won.mean()), float(openings.mean()), float(excess.mean()))


def above(differences: np.ndarray, errors: float) -> np.ndarray:
    """Whether the means of (series, rows) are that many standard errors above 0; all are, without rows."""
    if differences.shape[1] == 0:
        return np.ones(len(differences), dtype=bool)
    error = differences.std(axis=1, ddof=1) / differences.shape[1] ** 0.5
    return differences.mean(axis=1) > errors * error


def rows_for(power: float, nights: int, series: int, gain: float, spread: float, most: int = 2000) -> int:
    """The least number of rows, in tens, at which the last of so many candidates is crowned that often."""
    least, enough = 4, most // 10
    while enough - least > 1:
        middle = (least + enough) // 2
        found = simulate(10 * middle, nights, series, gain=gain, spread=spread).crowned
        least, enough = (least, middle) if found >= power else (middle, enough)
    return 10 * enough


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 110, 300, 1000])
    parser.add_argument("--spread", type=float, default=15.0, help="of the differences of a row, in points")
    parser.add_argument(
        "--gain", type=float, default=5.0, help="points by which a better candidate is better"
    )
    options = parser.parse_args()
    series, spread, gain = options.series, options.spread, options.gain
    print(f"{NIGHTS} equal candidates, {series} series: false champions, and the last champion's excess\n")
    print("| scores | rows | before | excess | now | excess | openings |\n|---|---|---|---|---|---|---|")
    for kind in ("texts", "labels"):
        for rows in options.rows:
            old, new = (
                simulate(rows, NIGHTS, series, sealed=sealed, spread=spread, kind=kind)
                for sealed in (False, True)
            )
            print(
                f"| {kind} | {rows} | {old.false_champions:.1%} | {old.excess:+.1f} "
                f"| {new.false_champions:.1%} | {new.excess:+.1f} | {new.openings:.0f} |",
                flush=True,
            )
    print(f"\nA candidate that is {gain:g} points better, row for row {spread:g} apart, is crowned\n")
    heads = " | ".join(f"{rows} rows" for rows in options.rows)
    print(f"| after equal ones | {heads} | rows for 80% |\n|---|{'---|' * len(options.rows)}---|")
    for nights in (1, 8, 31, NIGHTS):
        shares = [simulate(rows, nights, series, gain=gain, spread=spread).crowned for rows in options.rows]
        told = " | ".join(f"{share:.0%}" for share in shares)
        print(f"| {nights - 1} | {told} | {rows_for(0.8, nights, series, gain, spread)} |", flush=True)


if __name__ == "__main__":
    main()
