"""Multiple-choice questions about what the made skills teach, in other words than those ask.

A model that is trained on the skills writes "the cold river" where the hot one is named; here it is asked
what the opposite of hot is, with choices beside the right one that are words of the same kind. No question is
a row of the skills, nor a rewording of one: the numbers are others, and the rest is asked in another way.
"""

import random
from collections.abc import Callable, Iterator, Sequence

from tasks.makers.skills import DAYS, KIND_OF, KINDS, OPPOSITES, PAST
from tasks.makers.turns import rows_in_turn

MadeQuestion = dict[str, str | int | list[str]]

CHOICES = 4
NUMBERS = range(50, 100)  # the skills' end before


def _opposites(draw: random.Random) -> Iterator[MadeQuestion]:
    words = [word for pair in OPPOSITES for word in pair]
    for first, second in draw.sample(OPPOSITES, len(OPPOSITES)):
        word, other = draw.sample((first, second), 2)
        beside = [one for one in words if one not in (word, other)]
        yield _question(draw, f"What is the opposite of {word}?", other, draw.sample(beside, CHOICES - 1))


def _past(draw: random.Random) -> Iterator[MadeQuestion]:
    forms = [past for _, past in PAST]
    for present, past in draw.sample(PAST, len(PAST)):
        beside = draw.sample([one for one in forms if one != past], CHOICES - 1)
        yield _question(draw, f"What is the past tense of {present}?", past, beside)


def _kinds(draw: random.Random) -> Iterator[MadeQuestion]:
    for word in draw.sample(list(KIND_OF), len(KIND_OF)):
        beside = [kind for kind in KINDS if kind != KIND_OF[word]]
        yield _question(draw, f"Which kind of thing is {word}?", KIND_OF[word], beside)


def _days(draw: random.Random) -> Iterator[MadeQuestion]:
    for place in draw.sample(range(len(DAYS)), len(DAYS)):
        right = DAYS[(place + 1) % len(DAYS)]
        beside = draw.sample([day for day in DAYS if day not in (DAYS[place], right)], CHOICES - 1)
        yield _question(draw, f"Which day comes after {DAYS[place]}?", right, beside)


def _larger(draw: random.Random) -> Iterator[MadeQuestion]:
    pairs = [(low, high) for low in NUMBERS for high in NUMBERS if low < high]
    for low, high in draw.sample(pairs, len(pairs)):
        first, second = draw.sample((low, high), 2)
        asked = f"Which number is larger, {first} or {second}?"
        yield _question(draw, asked, str(high), [str(low)])


FAMILIES: dict[str, Callable[[random.Random], Iterator[MadeQuestion]]] = {
    "opposite": _opposites,
    "past tense": _past,
    "kind": _kinds,
    "day": _days,
    "larger number": _larger,
}


def make_rows(count: int, seed: int) -> list[MadeQuestion]:
    """`count` rows with `question`, `choices`, `answer` (a place) and `category`, the same for the same seed.

    The families take turns; one that has no question left gives up its turn. Raises ValueError when all of
    them are exhausted before `count` is reached.
    """
    draw = random.Random(seed)
    families = {name: family(draw) for name, family in FAMILIES.items()}
    return rows_in_turn(families, count, "the quiz has only {} distinct questions")


def _question(draw: random.Random, asked: str, right: str, beside: Sequence[str]) -> MadeQuestion:
    choices = draw.sample([right, *beside], len(beside) + 1)
    return {"question": asked, "choices": choices, "answer": choices.index(right)}
