"""The test rows in two parts: the gate, which every candidate meets, and what is sealed behind it.

The cut is made here, from the test rows alone, and not where they are split off: test sets of before are cut
as they are, and no stage upstream is done again. It takes rows in the order of a hash of their source, or of
their content where they have none, so that rows of one source and rows alike are on one side, and no row
changes sides because of its number or because of the training rows.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StageError
from tasks.record.manifest import canonical_json
from tasks.rows import load_split

GATE_OF = (
    5  # of so many sources one is the gate's: it only saves openings, so most are for the test that counts
)
SALT = "touchstone sealed rows"
BESIDE = ("id", "category", "source")  # what a row has beside its content


@dataclass(frozen=True)
class Parts:
    """Ids of test rows; the gate has none where there are too few rows to cut."""

    gate: frozenset[int]
    sealed: frozenset[int]


def row_digests(rows: Path, ids: Iterable[int]) -> dict[int, str]:
    """SHA-256 of what each of the test rows in `rows` asks and expects.

    Raises StageError for a number that no test row has.
    """
    held = {row["id"]: row for row in load_split(rows, "test")}
    wanted = list(ids)
    if unknown := [one for one in wanted if one not in held]:
        raise StageError(
            f"there are scores of {len(unknown)} rows that are not among the {len(held)} test rows, the "
            f"first of id {unknown[0]}: the scores are of another test set. Run the profile again"
        )
    return {
        one: _digest({name: value for name, value in held[one].items() if name not in BESIDE})
        for one in wanted
    }


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()


def cut(digests: Mapping[int, str], sources: Mapping[int, str | None], least: int) -> Parts:
    """Cut rows, by id, into parts; the same rows are always cut alike.

    Sources are counted, and rows without one as a source each. Where a fifth of them is fewer than `least`,
    all rows are sealed and there is no gate: every comparison is then an opening.
    """
    units: dict[str, list[int]] = {}
    for row, digest in digests.items():
        source = sources[row]
        units.setdefault(_digest([SALT, digest if source is None else source]), []).append(row)
    count = len(units) // GATE_OF
    if count < least:
        return Parts(frozenset(), frozenset(digests))
    ordered = [units[unit] for unit in sorted(units)]
    sealed = frozenset(row for members in ordered[count:] for row in members)
    return Parts(frozenset(digests) - sealed, sealed)
