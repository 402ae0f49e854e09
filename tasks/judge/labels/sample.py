"""Which rows people are asked about, and with which chances rows come to be labelled.

Rows are drawn from strata by the judge's score, the nearest grade from 0 to 5, so that every grade is there:
two of each first, and the others in proportion. Within a stratum the order is that of a random number which
each row has by the seed and its question alone. Whoever draws more rows later therefore draws the same ones
and others; and of two models' responses to the same questions, mostly the same rows (permanent random
numbers: Ohlsson, Coordination of samples using permanent random numbers, 1995), which a paired difference
needs. Rows of one source are drawn together.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from tasks.judge.labels.scale import grade_of
from tasks.judge.protocol.responses import ResponseRow
from tasks.record.manifest import canonical_json, digest_of

FIRST = 2  # of every stratum: what is known of how a stratum varies needs so many


class Design(BaseModel):
    """How the rows of one file of responses are drawn: more labels do not change what they are drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    scorer: str
    """Whose scores made the strata."""
    units: dict[str, tuple[int, ...]]
    """Ids of the rows that are drawn together, by what they have in common: a source, or their question."""
    strata: dict[str, int]
    """The grade that each unit is nearest to."""

    @classmethod
    def of(
        cls, rows: Sequence[ResponseRow], scores: Mapping[int, float | None], scorer: str, seed: int
    ) -> Self:
        """Of all rows that the scorer gave a score; what has none cannot be corrected."""
        units: dict[str, list[int]] = defaultdict(list)
        times: Counter[str] = Counter()
        for row in rows:
            if scores[row.id] is None:
                continue
            question = digest_of(
                canonical_json([row.instruction, row.input, row.reference, [*map(list, row.before)]])
            )
            times[question] += 1
            name = f"row {question} {times[question]}" if row.source is None else f"source {row.source}"
            units[name].append(row.id)
        means = {name: sum(scores[row] for row in own) / len(own) for name, own in units.items()}
        return cls(
            seed=seed,
            scorer=scorer,
            units={name: tuple(own) for name, own in units.items()},
            strata={name: grade_of(mean) for name, mean in means.items()},
        )

    @property
    def rows(self) -> int:
        return sum(map(len, self.units.values()))

    def drawn(self, rows: int) -> list[int]:
        """Ids of the first rows, at least so many if there are, in the order in which they are asked about.

        Nothing in that order tells the judge's score: each part of it, that of the first of every stratum and
        that of the others, is shuffled by the rows' numbers.
        """
        taken: list[str] = []
        count = 0
        for name in self._order():
            if count >= rows:
                break
            taken.append(name)
            count += len(self.units[name])
        first = sum(min(FIRST, size) for size in self._sizes().values())
        shuffled = [*sorted(taken[:first], key=self._number), *sorted(taken[first:], key=self._number)]
        return [row for name in shuffled for row in self.units[name]]

    def chances(self, labelled: Collection[int]) -> dict[int, float]:
        """With which chance each row came to be labelled: the share of its stratum's units that are.

        A stratum of which nothing is labelled is counted to the nearest one of which something is.
        """
        names = {row: name for name, own in self.units.items() for row in own}
        done = Counter(self.strata[name] for name in {names[row] for row in labelled})
        sizes: Counter[int] = Counter()
        nearest = {
            stratum: min(done, key=lambda other: (abs(other - stratum), other)) for stratum in self._sizes()
        }
        for stratum, size in self._sizes().items():
            sizes[nearest[stratum]] += size
        return {
            row: done[nearest[self.strata[name]]] / sizes[nearest[self.strata[name]]]
            for row, name in names.items()
        }

    def _sizes(self) -> Counter[int]:
        return Counter(self.strata.values())

    def _order(self) -> Iterable[str]:
        """All units: two of each stratum first, then as each stratum's share comes up."""
        by_stratum: dict[int, list[str]] = defaultdict(list)
        for name in sorted(self.units, key=self._number):
            by_stratum[self.strata[name]].append(name)
        due = []
        for own in by_stratum.values():
            for place, name in enumerate(own):
                turn = (0, float(place)) if place < FIRST else (1, (place - 0.5) / len(own))
                due.append((*turn, self._number(name), name))
        return (name for *_, name in sorted(due))

    def _number(self, name: str) -> str:
        return hashlib.sha256(f"{self.seed} {name}".encode()).hexdigest()
