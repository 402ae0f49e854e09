"""Sentences with persons, places, organisations and dates, whose words are tagged in BIO.

Persons and places have names of the same syllables, each used in one sentence alone: what a name is of can be
told from the words around it and the way it is written, not from the name, and none of a test sentence was
seen before. Organisations are called after either. Some names are written in capitals, with an initial, or
with the surname first; dates are written in six ways.
"""

import random
from collections.abc import Iterator

TEMPLATES = [
    "{PER} was born in {LOC} on {DATE} .",
    "{PER} and {PER} met in {LOC} .",
    "On {DATE} , {PER} joined {ORG} as a {job} .",
    "{ORG} opened a {place} in {LOC} on {DATE} .",
    "The {job} {PER} left {ORG} for {ORG} .",
    "According to {PER} , the {place} in {LOC} is {state} .",
    "{ORG} has named {PER} its new {job} .",
    "The {place} of {LOC} was {state} until {DATE} .",
    "A {job} from {LOC} wrote to {ORG} about the {place} .",
    "{PER} , a {job} at {ORG} , lives near {LOC} .",
    "From {LOC} to {LOC} the road is {state} .",
    "Between {DATE} and {DATE} , {ORG} lost a {job} .",
    "Nobody in {LOC} knew {PER} .",
    "The talks between {ORG} and {ORG} ended on {DATE} .",
    "{PER} told {PER} that the {place} was {state} .",
    "In {LOC} , the {place} is {state} , said {PER} .",
    "{ORG} , based in {LOC} , hired {PER} .",
    "Since {DATE} , a {job} has run the {place} .",
    "The {job} was {state} , and the {place} too .",
    "Yesterday the {job} called {PER} from {LOC} .",
    "{LOC} and {LOC} share a {place} .",
    "{PER} visits {LOC} every year .",
    "{LOC} lies north of {LOC} .",
    "{ORG} sued {PER} on {DATE} .",
    "They moved to {LOC} with {PER} .",
    "Letters to {PER} reach {ORG} in {LOC} .",
    "When {PER} came to {LOC} , the {place} was {state} .",
    "The {place} belongs to {ORG} .",
    "Ask {PER} , the {job} of the {place} .",
    "No {job} of {ORG} was in {LOC} on {DATE} .",
]
JOBS = "baker captain chemist dentist director driver farmer gardener judge lawyer mayor nurse painter"
PLACES = "bakery bridge cinema factory harbour hospital library market museum school stadium theatre"
STATES = "busy closed empty famous full green large modern open quiet small wide"
WORDS = {"job": JOBS.split(), "place": PLACES.split(), "state": STATES.split()}
BEGINNINGS = (
    "al bar cor den el far gal hol in jor kel lor mar nor or per quin ros sel tor ul var wen yar zel".split()
)
MIDDLES = "a e i o u ami eri oli uni ade".split()
ENDINGS = "bert da dan den des don la len lin lo man mar na nis ra ren ri sen son ta ton vik ville".split()
FIRST = "Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Lucas Maria Nils Olga Peter".split()
ORGANISATIONS = [
    "{} Bank", "{} Motors", "University of {}", "{} & Sons", "{} Airlines", "{} City Council", "Institute {}",
    "{} Press", "{} United",
]  # fmt: skip
MONTHS = "January February March April May June July August September October November December".split()
TYPES = ("PER", "LOC", "ORG", "DATE")
MOST = 2000  # draws in a row that bring no new name


class _Names:
    """Names that no sentence has had before."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._used: set[str] = set()

    def new(self) -> str:
        """Raises ValueError when hardly any is left."""
        for _ in range(MOST):
            syllables = [
                self._draw.choice(BEGINNINGS),
                *self._draw.choices(MIDDLES, k=self._draw.randint(1, 2)),
            ]
            name = f"{''.join(syllables)}{self._draw.choice(ENDINGS)}".capitalize()
            if name not in self._used:
                self._used.add(name)
                return name
        raise ValueError(f"there are only about {len(self._used)} names")


def make_rows(count: int, seed: int) -> list[dict[str, list[str]]]:
    """`count` rows with `words` and `tags`, the same for the same seed. Raises ValueError for too many."""
    draw = random.Random(seed)
    names = _Names(draw)
    return [_row(draw, names, TEMPLATES[number % len(TEMPLATES)]) for number in range(count)]


def _row(draw: random.Random, names: _Names, template: str) -> dict[str, list[str]]:
    words, tags = [], []
    for part in template.split():
        kind = part.strip("{}")
        if kind in TYPES:
            own = list(_entity(draw, names, kind))
            words += own
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(own) - 1)]
        else:
            words.append(draw.choice(WORDS[kind]) if kind in WORDS else part)
            tags.append("O")
    return {"words": words, "tags": tags}


def _entity(draw: random.Random, names: _Names, kind: str) -> Iterator[str]:
    if kind == "DATE":
        yield from _date(draw)
    elif kind == "ORG":
        yield from draw.choice(ORGANISATIONS).format(names.new()).split()
    elif kind == "LOC":
        form = draw.choice(("{}", "{}", "{}", "New {}", "{} Bay", "Port {}"))
        yield from form.format(_cased(draw, names.new())).split()
    else:
        first, last = draw.choice(FIRST), _cased(draw, names.new())
        whole = f"{first} {last}"
        forms = (whole, whole, last, f"{first[0]}. {last}", f"{last} , {first}", f"Dr. {last}")
        yield from draw.choice(forms).split()


def _cased(draw: random.Random, name: str) -> str:
    return name.upper() if draw.random() < 0.1 else name


def _date(draw: random.Random) -> list[str]:
    day, month, year = draw.randint(1, 28), draw.randrange(12), draw.randint(1950, 2029)
    name = MONTHS[month]
    forms = (
        f"{day} {name} {year}",
        f"{name} {day} , {year}",
        f"{name} {year}",
        f"{year}-{month + 1:02}-{day:02}",
        f"{day:02}/{month + 1:02}/{year}",
        f"{name[:3]} {day}",
    )
    return draw.choice(forms).split()
