"""Proofs that nothing tested or validated on was trained on, exactly or nearly."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from tasks.duplicates import Groups
from tasks.preflight.report import Proof
from tasks.rows import Row, prompt_groups, prompt_of
from tasks.tokens import Split

EXACT, NEAR = "splits share no row", "splits share no near duplicate"
REPEATS = (
    ", for the corpus repeats itself: add text that does not, take out what stands there twice, or train "
    "without a validation loss (tokenize.validation=0)"
)
GRAM = 16  # tokens; about 12 words in a row, which two texts do not share by chance
PLACES = 64  # of each validation document at which such a run of tokens is looked up
SHARE = 0.9  # of them found in the training split make a near duplicate
TOLERATED = 0.01  # of the validation documents: stubs that a corpus writes by template
CHUNK = 1 << 20  # tokens
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; the base of the rolling hash


def rows_apart(rows: dict[str, list[Row]], groups: Sequence[Sequence[int]] | None = None) -> list[Proof]:
    """No prompt stands in two splits, neither as it is nor but for a trifle (tasks/duplicates.py).

    `groups` are the ids of rows that are known to ask nearly the same, as `load_groups` gives them for files
    that nobody has altered; without them they are found here. Which rows ask exactly the same is found here
    in any case.
    """
    members = [(split, row) for split, found in rows.items() for row in found]
    alike: dict[int, list[int]] = {}
    for place, group in enumerate(_groups([row for _, row in members], groups)):
        alike.setdefault(group, []).append(place)
    exact, near = [], []
    for places in alike.values():
        if len({members[place][0] for place in places}) == 1:
            continue
        for number, place in enumerate(places):
            split, row = members[place]
            others = [other for other in places[:number] if members[other][0] != split]
            same = [other for other in others if prompt_of(members[other][1]) == prompt_of(row)]
            if others:
                (exact if same else near).append((place, (same or others)[0]))

    def proof(name: str, pairs: list[tuple[int, int]], expected: str) -> Proof:
        if not pairs:
            sizes = ", ".join(f"{len(found):,} {split}" for split, found in rows.items())
            return Proof(name, "passed", f"none; {sizes} rows", expected)
        one, other = min(pairs)
        where = f"{_name(members[one])} and {_name(members[other])}"
        found = f"{len(pairs):,} rows; the first asks {_short(members[one][1])}"
        return Proof(name, "failed", found, expected, where)

    return [
        proof(EXACT, exact, "no prompt stands in two splits"),
        proof(NEAR, near, "no two splits have prompts that differ by a trifle"),
    ]


def _groups(rows: Sequence[Row], known: Sequence[Sequence[int]] | None) -> list[int]:
    """For each row the first that asks the same or nearly."""
    if known is None:
        return prompt_groups(rows)
    first: dict[tuple[str, ...], int] = {}
    pairs = [(first.setdefault(prompt_of(row), place), place) for place, row in enumerate(rows)]
    place_of = {row["id"]: place for place, row in enumerate(rows)}
    for ids in known:
        places = [place_of[row] for row in ids if row in place_of]
        pairs += [(places[0], place) for place in places]
    groups = Groups(len(rows))
    groups.join(np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return groups.smallest().tolist()


def _name(member: tuple[str, Row]) -> str:
    return f"{member[0]} row {member[1]['id']}"


def _short(row: Row) -> str:
    text = " ".join(" ".join(prompt_of(row)).split())
    return repr(text if len(text) <= 80 else f"{text[:79]}…")


# Documents of a corpus


def documents_apart(train: Split, validation: Split) -> list[Proof]:
    """No validation document stands in the training split, as it is or for nine tenths of its text.

    Documents shorter than 16 tokens recur by nature and are left out. Memory is bounded by the number of
    documents and the validation split, whatever the size of the training split.
    """
    expected = {
        EXACT: "no document stands in both splits",
        NEAR: f"fewer than {TOLERATED:.0%} of the validation documents stand in train for nine tenths",
    }
    long = [number for number, (start, stop) in enumerate(_bounds(validation)) if stop - start > GRAM]
    if not long or not len(train):
        reason = f"no validation document has more than {GRAM} tokens"
        return [Proof(name, "skipped", reason, expected[name]) for name in (EXACT, NEAR)]
    exact = _exact(train, validation, set(long))
    shares = _shares_found(train, validation, long)
    near = [number for number in long if number not in exact and shares[number] >= SHARE]
    counted = f"of {len(long):,} validation documents"
    proofs = [Proof(EXACT, "passed", f"none {counted}", expected[EXACT])]
    if exact:
        first = min(exact)
        where = f"validation document {first} and train document {exact[first]}"
        proofs = [Proof(EXACT, "failed", f"{len(exact):,} {counted}{REPEATS}", expected[EXACT], where)]
    if not near:
        return [*proofs, Proof(NEAR, "passed", f"none {counted}", expected[NEAR])]
    verdict = "noted" if len(near) < TOLERATED * len(long) else "failed"
    where = f"validation document {near[0]}, {shares[near[0]]:.0%} of it in train"
    found = f"{len(near):,} {counted}{REPEATS if verdict == 'failed' else ''}"
    return [*proofs, Proof(NEAR, verdict, found, expected[NEAR], where)]


def _bounds(split: Split) -> Iterator[tuple[int, int]]:
    """Where each document starts, and where the next does: its end token is the last before that."""
    ends = split.ends.tolist()
    return zip([0, *ends][:-1], ends, strict=True)


def _exact(train: Split, validation: Split, among: set[int]) -> dict[int, int]:
    """Validation documents that stand in train, each with the first document there."""
    known: dict[bytes, list[int]] = {}
    lengths = set()
    for number, (start, stop) in enumerate(_bounds(validation)):
        if number in among:
            known.setdefault(_digest(validation, start, stop), []).append(number)
            lengths.add(stop - start)
    found: dict[int, int] = {}
    for number, (start, stop) in enumerate(_bounds(train)):
        if stop - start in lengths:  # all else cannot be the same
            for same in known.get(_digest(train, start, stop), ()):
                found.setdefault(same, number)
    return found


def _digest(split: Split, start: int, stop: int) -> bytes:
    return hashlib.blake2b(split.tokens[start:stop].tobytes(), digest_size=16).digest()


def _shares_found(train: Split, validation: Split, among: list[int]) -> dict[int, float]:
    """For each of these documents the share of its runs of 16 tokens that stand in train.

    A run is looked up by a rolling hash of 64 bits, first in a bitmap that nearly all miss.
    """
    largest = max(int(validation.tokens.max()), 0)
    values = np.random.default_rng(0).integers(0, 2**64, size=2**16 if largest < 2**16 else 2**20, dtype="u8")
    bounds = list(_bounds(validation))
    hashes, owners = [], []
    for number in among:
        start, stop = bounds[number]
        runs = stop - start - GRAM  # the end token is in none
        first = np.unique(np.linspace(0, runs - 1, min(runs, PLACES)).astype(np.int64))
        hashes.append(_hashed(validation.tokens[start : stop - 1], values)[first])
        owners.append(np.full(len(first), number))
    wanted, owner = np.concatenate(hashes), np.concatenate(owners)
    distinct = np.unique(wanted)
    bits = max(16, min(27, len(distinct).bit_length() + 5))
    shift = np.uint64(64 - bits)
    bitmap = np.zeros(1 << bits, dtype=bool)
    bitmap[distinct >> shift] = True
    present = np.zeros(len(distinct), dtype=bool)
    for start in range(0, len(train) - GRAM + 1, CHUNK):
        found = _hashed(train.tokens[start : start + CHUNK + GRAM - 1], values)
        found = found[bitmap[found >> shift]]
        places = np.searchsorted(distinct, found)
        places[places == len(distinct)] = 0
        present[places[distinct[places] == found]] = True
    hits = present[np.searchsorted(distinct, wanted)]
    counts, total = np.bincount(owner, hits), np.bincount(owner)
    return {number: counts[number] / total[number] for number in among}


def _hashed(tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The polynomial hash of every run of 16 tokens, modulo 2^64, by doubling: of 1, 2, 4, 8, 16."""
    found = values[np.asarray(tokens) & (len(values) - 1)]
    length, factor = 1, MULTIPLIER
    with np.errstate(over="ignore"):
        while length < GRAM:
            found = found[:-length] * factor + found[length:]
            length, factor = 2 * length, factor * factor
    return found
