"""Short reports, each with a summary that follows from what it says.

A report tells who plans what, when and at what price, among sentences that its summary leaves out; some of
the days and prices that it names are no longer true, and a summary with those is wrong. Every report has a
combination of person, thing and price of its own, so that no summary of a test row was trained on.
"""

import random
from collections.abc import Sequence

from tasks.data.duplicates import Groups, join_near_duplicates

MadeRow = dict[str, str]

FIRST = (
    "Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Lucas Maria Nils Olga Peter Rosa Stefan "
    "Tara Viktor Wanda Yusuf Zoe Amir Bea Carl Dina Emil Fatima Georg"
).split()
LAST = (
    "Adler Berger Costa Duval Ekström Fischer Garcia Horvat Ito Jensen Keller Lopez Moreau Novak Okafor "
    "Petrov Quinn Rossi Schmidt Tanaka Ueda Varga Weber Yilmaz Ziegler Baker Cohen Dubois Evans Fonseca"
).split()
JOBS = "teacher baker nurse farmer painter driver gardener carpenter librarian plumber tailor pilot".split()
TOWNS = (
    "Ashford Bergen Calais Dresden Evora Faro Genoa Halden Inverness Jena Kiel Lisbon Malmo Namur Oslo Porto "
    "Quimper Riga Siena Turin Uppsala Vigo Weimar York Zagreb"
).split()
THINGS = (
    "bridge library harbour station garden bakery museum school theatre castle market tower fountain mill "
    "lighthouse playground kitchen workshop greenhouse stable cinema tunnel windmill chapel"
).split()
ADJECTIVES = "dusty small red quiet bright narrow golden wooden famous large green stone round tall".split()
PLANS = {
    "repaired": ("repair", "mend"),
    "painted": ("paint", "colour"),
    "opened": ("open", "unlock"),
    "sold": ("sell", "part with"),
    "cleaned": ("clean", "scrub"),
    "rebuilt": ("rebuild", "reconstruct"),
}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WEATHER = "rain snow fog sunshine wind frost".split()
ANIMALS = "dogs cats horses birds goats ducks".split()
FOOD = "soup bread cake apples tea coffee".split()


def make_rows(count: int, seed: int) -> list[MadeRow]:
    """So many rows with `document` and `summary`, the same for the same seed.

    No two reports are near duplicates, by the rules that users' rows are split by. Raises ValueError when
    there are not so many.
    """
    draw, rows, seen = random.Random(seed), [], set()
    for _ in range(2 * count):
        facts = _Facts(draw)
        if facts.key not in seen:
            seen.add(facts.key)
            rows.append({"document": facts.report(draw), "summary": facts.summary()})
    groups = Groups(len(rows))
    join_near_duplicates(groups, [(row["document"],) for row in rows])
    first = groups.smallest().tolist()
    apart = [row for place, row in enumerate(rows) if first[place] == place]
    if len(apart) < count:
        raise ValueError(f"there are only {len(apart):,} different reports; {count:,} were asked for")
    return apart[:count]


class _Facts:
    """What a report is about."""

    def __init__(self, draw: random.Random) -> None:
        self.first, self.last = draw.choice(FIRST), draw.choice(LAST)
        self.job, self.town = draw.choice(JOBS), draw.choice(TOWNS)
        self.adjective, self.thing = draw.choice(ADJECTIVES), draw.choice(THINGS)
        self.done = draw.choice(list(PLANS))
        self.before, self.day = draw.sample(DAYS, 2)
        self.earlier, self.price = draw.sample(range(20, 100), 2)

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.last, self.adjective, self.thing, self.price

    def summary(self) -> str:
        return (
            f"{self.last} of {self.town}: the {self.adjective} {self.thing} will be {self.done} on "
            f"{self.day} for {self.price} euros."
        )

    def report(self, draw: random.Random) -> str:
        plan = draw.choice(PLANS[self.done])
        opening = draw.choice(
            (
                f"{self.first} {self.last}, a {self.job} in {self.town}, wants to {plan} the "
                f"{self.adjective} {self.thing}.",
                f"In {self.town} there is a {self.adjective} {self.thing}, and {self.first} {self.last}, a "
                f"{self.job}, is going to {plan} it.",
                f"The {self.adjective} {self.thing} of {self.town} is known to everybody; the {self.job} "
                f"{self.first} {self.last} will {plan} it.",
            )
        )
        when = draw.choice(
            (
                f"It was to happen on {self.before}, but it was moved to {self.day}.",
                f"The day is {self.day}, since {self.before} was too early.",
                f"Nobody has time on {self.before}, so it will be on {self.day}.",
                f"It happens on {self.day}.",
            )
        )
        price = draw.choice(
            (
                f"It costs {self.price} euros and not {self.earlier}, as was said at first.",
                f"The price was {self.earlier} euros last year; now it is {self.price} euros.",
                f"All of it comes to {self.price} euros.",
                f"Somebody offered {self.earlier} euros, yet {self.price} euros are needed.",
            )
        )
        middle = [when, price]
        draw.shuffle(middle)
        for sentence in draw.sample(_beside(draw), draw.randint(1, 3)):
            middle.insert(draw.randint(0, len(middle)), sentence)
        return " ".join([opening, *middle])


def _beside(draw: random.Random) -> Sequence[str]:
    """What is of no account."""
    other, town, number = draw.choice(FIRST), draw.choice(TOWNS), draw.randint(3, 19)
    return (
        f"There was {draw.choice(WEATHER)} when {other} came by.",
        f"{other} from {town} had {draw.choice(FOOD)} with the neighbours.",
        f"About {number} {draw.choice(ANIMALS)} were looking on.",
        f"A {draw.choice(JOBS)} told us that {town} has nothing like it.",
        f"{other} took {number} photographs.",
    )
