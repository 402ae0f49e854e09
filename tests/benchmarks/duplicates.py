"""Near duplicates among templated rows as they grow, each number of rows in a process of its own.

    python -m tests.benchmarks.duplicates [--rows 4000 ... 1000000] [--plain 4000 8000 16000] [--kinds ...]

`tasks.data.duplicates` against a plain prefix filter over Python's sets, which compares every two texts that
share one of their rarest pairs of words; it is given only the numbers of rows of `--plain`. Both find the
same groups, or this says so and ends. Kinds of rows: `mixed`, five templates, of 10 to 50 words, one with
numbers, and one row in fifty a copy with a word altered; `slots`, one template of 50 words with four slots of
100 words each. Memory is what the search adds to the process that holds the rows.
"""

import argparse
import hashlib
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from tasks.data.duplicates import (
    OWN_SHARED,
    PHRASE_COUNT,
    PHRASE_SHARE,
    SHARED,
    Groups,
    Parts,
    join_near_duplicates,
    words_of,
)

ROWS = [4_000, 8_000, 16_000, 64_000, 250_000, 1_000_000]
PLAIN = [4_000, 8_000, 16_000]
RULES = (
    "The report should be written in clear and simple language so that every reader of the paper can follow "
    "the argument from its first line to its last one"
)


def named(kind: str, count: int) -> list[str]:
    """Words that nothing else has."""
    return [kind + chr(97 + n % 26) + chr(97 + n // 26 % 26) + chr(97 + n // 676) for n in range(count)]


ADJECTIVES, NOUNS, VERBS, PLACES = named("ad", 100), named("no", 1000), named("ve", 200), named("pl", 50)
SLOTS = [named(kind, 100) for kind in ("sa", "sb", "sc", "sd")]


def mixed(draw: random.Random) -> str:
    a, b, c, d = (draw.choice(words) for words in (ADJECTIVES, NOUNS, VERBS, PLACES))
    return draw.choice(
        (
            f"Write a short sentence about the {a} {b} that likes to {c} near {d}.",
            f"What would a {a} {b} say if it had to {c}?",
            f"Add {draw.randrange(10_000)} and {draw.randrange(10_000)}.",
            f"You are a careful writer. {RULES}. Describe the {a} {b} which wants to {c} in {d}.",
            f"Is a {b} more {a} than a {draw.choice(NOUNS)} or not?",
        )
    )


def slots(draw: random.Random) -> str:
    a, b, c, d = (draw.choice(words) for words in SLOTS)
    return f"You are a writer. {RULES}. Describe the {a} thing which {b} wants to see in {c} when {d} comes."


def texts_of(kind: str, count: int) -> list[Parts]:
    draw, texts = random.Random(123), []
    for _ in range(count):
        if kind == "mixed" and texts and draw.random() < 0.02:
            words = draw.choice(texts)[0].split()
            words.insert(draw.randrange(len(words)), "very")
            texts.append((" ".join(words), ""))
        else:
            texts.append(({"mixed": mixed, "slots": slots}[kind](draw), ""))
    return texts


def plainly(groups: Groups, texts: Sequence[Parts]) -> None:
    """Join near duplicates: candidates share one of their rarest pairs of words, and are compared as sets."""
    first: dict[tuple[tuple[str, ...], ...], int] = {}
    for place, parts in enumerate(texts):
        words = tuple(map(words_of, parts))
        if (earlier := first.setdefault(words, place)) != place:
            groups.join(np.array([[earlier, place]]))
    pairs = [
        [set(zip(("", *part), (*part, ""), strict=True)) if part else set() for part in words]
        for words in first
    ]
    counts: defaultdict[object, int] = defaultdict(int)
    for parts in pairs:
        for pair in ((number, pair) for number, part in enumerate(parts) for pair in part):
            counts[pair] += 1
    most = max(PHRASE_COUNT, PHRASE_SHARE * len(pairs))
    places = list(first.values())
    found = [[places[one], places[other]] for one, other in _similar(list(first), pairs, counts, most)]
    groups.join(np.array(found, dtype=np.int64).reshape(-1, 2))


def _similar(
    words: list[tuple[tuple[str, ...], ...]], pairs: list[list[set]], counts: dict, most: float
) -> Iterator[tuple[int, int]]:
    holders: defaultdict[object, list[int]] = defaultdict(list)
    own = [
        {(n, pair) for n, part in enumerate(each) for pair in part if counts[n, pair] <= most}
        for each in pairs
    ]
    for text in sorted(range(len(pairs)), key=lambda text: sum(map(len, pairs[text]))):
        every = sorted(
            ((n, p) for n, part in enumerate(pairs[text]) for p in part), key=lambda x: (counts[x], x)
        )
        numbers = tuple(tuple(word for word in part if word[0].isdigit()) for part in words[text])
        candidates: set[int] = set()
        for pair in every[: len(every) - math.ceil(SHARED * len(every)) + 1]:
            earlier = holders[pair, numbers]
            candidates.update(earlier)
            earlier.append(text)
        for other in candidates:
            alike = own[text] and _jaccard(own[text], own[other]) >= OWN_SHARED
            if alike and all(
                _jaccard(*each) >= SHARED for each in zip(pairs[text], pairs[other], strict=True)
            ):
                yield text, other


def _jaccard(one: set, other: set) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 1.0


def measure(way: str, kind: str, rows: int) -> None:
    """Print what one way takes, as JSON."""
    texts = texts_of(kind, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    groups, started = Groups(rows), time.perf_counter()
    {"plain": plainly, "ours": join_near_duplicates}[way](groups, texts)
    smallest = groups.smallest()
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before,
                "groups": len(np.unique(smallest)),
                "digest": hashlib.sha256(smallest.astype("<i8").tobytes()).hexdigest(),
            }
        )
    )


def measured(way: str, kind: str, rows: int) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.duplicates", "--way", way, "--kinds", kind]
    done = subprocess.run([*command, "--rows", str(rows)], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--plain", nargs="*", type=int, default=PLAIN)
    parser.add_argument("--kinds", nargs="+", choices=("mixed", "slots"), default=["mixed", "slots"])
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.kinds[0], arguments.rows[0])
        return
    print(
        "| kind | rows | groups | plain | ours | plain / ours | ours, a row | memory, plain | memory, ours |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for kind in arguments.kinds:
        for rows in arguments.rows:
            ours = measured("ours", kind, rows)
            plain = measured("plain", kind, rows) if rows in arguments.plain else None
            if plain and plain["digest"] != ours["digest"]:
                sys.exit(f"{kind}, {rows} rows: {plain['groups']} groups plainly, {ours['groups']} by ours")
            times = f"{plain['seconds']:.2f} s" if plain else ""
            ratio = f"{plain['seconds'] / ours['seconds']:.1f}" if plain else ""
            memory = f"{plain['memory'] / 1e6:,.0f} MB" if plain else ""
            print(
                f"| {kind} | {rows:,} | {ours['groups']:,} | {times} | {ours['seconds']:.2f} s | {ratio} "
                f"| {ours['seconds'] / rows * 1e6:.0f} µs | {memory} | {ours['memory'] / 1e6:,.0f} MB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
