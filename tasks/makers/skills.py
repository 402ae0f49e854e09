"""Instruction rows made on the spot: small skills whose answers can be computed.

Every row asks for a combination of its own: what stands in an answer may stand in others, never all of it, in
whatever order. The answer of a test question is therefore none that was trained on, and by the rules that
users' rows are split by no two questions are rewordings of each other, nor near duplicates, whatever the
split. `make_rows` checks it before it returns.
"""

import random
from collections.abc import Callable, Iterator, Sequence

from tasks.data.duplicates import Groups, join_near_duplicates, words_of
from tasks.data.rewordings import join_rewordings
from tasks.makers.turns import rows_in_turn

MadeRow = dict[str, str]

NOUNS = (
    "apple book river stone cloud garden window bottle table lamp forest mountain bridge engine letter "
    "village market basket candle hammer island ladder mirror needle orange pencil pillow rocket saddle "
    "shadow spoon street sugar ticket tunnel turtle valley wagon winter anchor button carpet dragon falcon"
).split()
ADJECTIVES = (
    "red small quiet old bright heavy cold green gentle narrow golden broken empty famous wooden".split()
)
NAMES = "Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Lucas Maria Nils Olga Peter".split()
PLACES = "market library harbour station garden bakery museum school theatre castle".split()
OPPOSITES = [
    pair.split(":")
    for pair in "hot:cold big:small fast:slow early:late open:closed full:empty light:dark high:low "
    "hard:soft young:old rich:poor strong:weak wide:narrow happy:sad clean:dirty deep:shallow loud:quiet "
    "long:short "
    "wet:dry near:far sweet:bitter thick:thin true:false first:last smooth:rough".split()
]
PAST = [
    pair.split(":")
    for pair in "walk:walked go:went see:saw buy:bought find:found make:made write:wrote take:took "
    "paint:painted open:opened sell:sold bring:brought draw:drew lose:lost clean:cleaned hold:held".split()
]
KINDS = {
    "animal": "horse tiger rabbit donkey goat camel wolf otter".split(),
    "fruit": "pear plum cherry banana grape lemon peach melon".split(),
    "tool": "saw wrench drill chisel pliers shovel axe file".split(),
    "country": "Spain Norway Japan Brazil Kenya Canada Chile Poland".split(),
    "metal": "copper silver tin zinc lead nickel gold cobalt".split(),
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def _opposite(draw: random.Random) -> MadeRow:
    word, other = draw.sample(draw.choice(OPPOSITES), 2)
    noun = draw.choice(NOUNS)
    return {
        "instruction": "Rewrite the phrase with the opposite adjective.",
        "input": f"the {word} {noun}",
        "output": f"the {other} {noun}",
    }


def _past(draw: random.Random) -> MadeRow:
    present, past = draw.choice(PAST)
    name, noun = draw.choice(NAMES), draw.choice(NOUNS)
    return {
        "instruction": "Change the sentence to the past tense.",
        "input": f"They {present} the {noun} with {name}.",
        "output": f"They {past} the {noun} with {name}.",
    }


def _kind(draw: random.Random) -> MadeRow:
    words = draw.sample(list(KIND_OF), 2)
    first, second = (f"{word} is {_article(KIND_OF[word])}" for word in words)
    return {
        "instruction": "What is each of the two?",
        "input": " and ".join(words),
        "output": f"{first} and {second}.",
    }


def _larger(draw: random.Random) -> MadeRow:
    first, second = draw.sample(range(10, 50), 2)
    return {
        "instruction": "Which number is larger?",
        "input": f"{first} or {second}",
        "output": f"{max(first, second)} is larger than {min(first, second)}.",
    }


def _day(draw: random.Random) -> MadeRow:
    index, name = draw.randrange(7), draw.choice(NAMES)
    noun, place = draw.choice(NOUNS), draw.choice(PLACES)
    return {
        "instruction": "On which day does the parcel arrive?",
        "input": f"{name} sends {_article(noun)} to the {place} on {DAYS[index]}. It arrives one day later.",
        "output": f"The {noun} from {name} arrives on {DAYS[(index + 1) % 7]}.",
    }


def _where(draw: random.Random) -> MadeRow:
    name, place = draw.choice(NAMES), draw.choice(PLACES)
    adjective, noun = draw.choice(ADJECTIVES), draw.choice(NOUNS)
    return {
        "instruction": f"Where is the {noun}?",
        "input": f"{name} carries the {adjective} {noun} to the {place}.",
        "output": f"The {adjective} {noun} is at the {place}.",
    }


def _ends(draw: random.Random) -> MadeRow:
    words = draw.sample(NOUNS, 4)
    return {
        "instruction": "Give the first and the last word of the list.",
        "input": ", ".join(words),
        "output": f"{words[0]} and {words[-1]}",
    }


FAMILIES: dict[str, Callable[[random.Random], MadeRow]] = {
    "opposite": _opposite,
    "past tense": _past,
    "kind": _kind,
    "larger number": _larger,
    "day": _day,
    "where": _where,
    "first and last word": _ends,
}


def make_rows(count: int, seed: int) -> list[MadeRow]:
    """`count` rows with `instruction`, `input`, `output` and `category`, the same for the same seed.

    The families take turns; one that has no new question left gives up its turn. Raises ValueError when all
    of them are exhausted before `count` is reached.
    """
    draw = random.Random(seed)
    families = {name: _new(family, draw) for name, family in FAMILIES.items()}
    rows = rows_in_turn(families, count, "the skills have only {} distinct rows")
    _check_new(rows)
    return rows


def _new(family: Callable[[random.Random], MadeRow], draw: random.Random) -> Iterator[MadeRow]:
    """Rows of one family with new answers, until a thousand draws in a row bring nothing new.

    What was answered is not asked about either: "the big pillow" is "the small pillow" turned round.
    """
    seen: set[tuple[str, ...]] = set()
    misses = 0
    while misses < 1000:
        row = family(draw)
        own = {tuple(sorted(words_of(row[field]))) for field in ("input", "output")}
        misses = 0 if seen.isdisjoint(own) else misses + 1
        if not misses:
            seen |= own
            yield row


def _check_new(rows: Sequence[MadeRow]) -> None:
    """By the rules of the product: a row of the test split could else be one trained on, in other words."""
    groups = Groups(len(rows))
    prompts, answers = [(row["instruction"], row["input"]) for row in rows], [row["output"] for row in rows]
    join_near_duplicates(groups, prompts)
    join_rewordings(groups, prompts, answers)
    for place, first in enumerate(groups.smallest().tolist()):
        if place != first:
            raise AssertionError(f"row {place} asks what row {first} asks: {rows[place]}, {rows[first]}")
    if len(set(answers)) < len(rows):
        raise AssertionError("two rows have one answer: a test question could be answered from memory")
