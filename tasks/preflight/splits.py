"""Checks that nothing tested or validated on was trained on, exactly or nearly."""

import hashlib
from collections.abc import Iterator, Sequence

from tasks.data.duplicates import Groups
from tasks.data.token_files import Split
from tasks.preflight.ngrams import shares_found
from tasks.preflight.report import CheckResult
from tasks.rows import Alike, Row, prompt_groups, prompt_of, source_groups

EXACT, NEAR = "splits share no row", "splits share no near duplicate"
SOURCE = "splits share no source"
REPEATS = (
    ", for the corpus repeats itself: add text that does not, take out what stands there twice, or train "
    "without a validation loss (tokenize.validation=0)"
)
GRAM = 16  # tokens; about 12 words in a row, which two texts do not share by chance
SHARE = 0.9  # of them found in the training split make a near duplicate
TOLERATED = 0.01  # of the validation documents: stubs that a corpus writes by template


def rows_apart(rows: dict[str, list[Row]], known: Alike | None = None) -> list[CheckResult]:
    """No prompt stands in two splits, as it is or but for a trifle, and no source of rows does.

    `known` are the rows that are alike, as `load_groups` gives them for files that nobody has altered;
    without them they are found here. Which rows ask exactly the same is found here in any case.
    """
    members = [(split, row) for split, found in rows.items() for row in found]
    every = [row for _, row in members]
    exact, near = [], []
    prompts = prompt_groups(every) if known is None else _groups(every, known.prompts, exact=True)
    for place, others in _in_other_splits(members, prompts):
        same = [other for other in others if prompt_of(every[other]) == prompt_of(every[place])]
        (exact if same else near).append((place, (same or others)[0]))
    sources = source_groups(every) if known is None else _groups(every, known.sources)
    source = [(place, others[0]) for place, others in _in_other_splits(members, sources)]

    def result(name: str, pairs: list[tuple[int, int]], expected: str) -> CheckResult:
        if not pairs:
            sizes = ", ".join(f"{len(found):,} {split}" for split, found in rows.items())
            return CheckResult(name, "passed", f"none; {sizes} rows", expected)
        one, other = min(pairs)
        where = f"{_name(members[one])} and {_name(members[other])}"
        found = f"{len(pairs):,} rows; the first asks {_short(members[one][1])}"
        return CheckResult(name, "failed", found, expected, where)

    return [
        result(EXACT, exact, "no prompt stands in two splits"),
        result(NEAR, near, "no two splits have prompts that differ by a trifle"),
        result(SOURCE, source, "no conversation, passage or other source of rows stands in two splits"),
    ]


def _in_other_splits(
    members: Sequence[tuple[str, Row]], groups: Sequence[int]
) -> Iterator[tuple[int, list[int]]]:
    """Places of `members`, each with the earlier places of its group that are of other splits, if any."""
    alike: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        alike.setdefault(group, []).append(place)
    for places in alike.values():
        if len({members[place][0] for place in places}) == 1:
            continue
        for number, place in enumerate(places):
            others = [other for other in places[:number] if members[other][0] != members[place][0]]
            if others:
                yield place, others


def _groups(rows: Sequence[Row], known: Sequence[Sequence[int]], exact: bool = False) -> list[int]:
    """For each row the first that is in a known group with it, or with `exact` asks the same."""
    first: dict[tuple[str, ...], int] = {}
    pairs = [(first.setdefault(prompt_of(row), place), place) for place, row in enumerate(rows) if exact]
    place_of = {row["id"]: place for place, row in enumerate(rows)}
    for ids in known:
        places = [place_of[row] for row in ids if row in place_of]
        pairs += [(places[0], place) for place in places]
    groups = Groups(len(rows))
    groups.join(pairs)
    return groups.smallest().tolist()


def _name(member: tuple[str, Row]) -> str:
    return f"{member[0]} row {member[1]['id']}"


def _short(row: Row) -> str:
    text = " ".join(" ".join(prompt_of(row)).split())
    return repr(text if len(text) <= 80 else f"{text[:79]}…")


# Documents of a corpus


def documents_apart(train: Split, validation: Split) -> list[CheckResult]:
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
        return [CheckResult(name, "skipped", reason, expected[name]) for name in (EXACT, NEAR)]
    exact = _exact(train, validation, set(long))
    shares = _shares_found(train, validation, long)
    near = [number for number in long if number not in exact and shares[number] >= SHARE]
    counted = f"of {len(long):,} validation documents"
    results = [CheckResult(EXACT, "passed", f"none {counted}", expected[EXACT])]
    if exact:
        first = min(exact)
        where = f"validation document {first} and train document {exact[first]}"
        results = [CheckResult(EXACT, "failed", f"{len(exact):,} {counted}{REPEATS}", expected[EXACT], where)]
    if not near:
        return [*results, CheckResult(NEAR, "passed", f"none {counted}", expected[NEAR])]
    verdict = "info" if len(near) < TOLERATED * len(long) else "failed"
    where = f"validation document {near[0]}, {shares[near[0]]:.0%} of it in train"
    found = f"{len(near):,} {counted}{REPEATS if verdict == 'failed' else ''}"
    return [*results, CheckResult(NEAR, verdict, found, expected[NEAR], where)]


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
    """For each of these documents the share of its runs of tokens, without its end, that stand in train."""
    bounds = list(_bounds(validation))
    texts = [validation.tokens[bounds[number][0] : bounds[number][1] - 1] for number in among]
    return dict(zip(among, shares_found(train.tokens, texts, GRAM), strict=True))
