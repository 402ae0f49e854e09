"""Questions on made passages: what is asked stands in the passage, among others of its kind.

A passage tells of one town, in sentences whose order and wording are drawn: who did what there, when, where
and how many. Each kind of answer stands there several times (two or three people, years, numbers, places),
so that the kind of the question alone does not find the answer. What tells an answer from others stands
before it ("was founded in 1312 by Anna Berg"), so that a model that reads from left to right can find it too.
Every eighth question is about what the passage does not tell, and has no answer.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ASKED = 4  # questions on a passage
UNANSWERABLE = 8  # one question in so many
FIRST = "Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Lucas Maria Nils Olga Peter".split()
LAST = "Adler Berg Conti Dorn Evers Fink Graf Holm Ivers Jansen Kern Lund Moser Novak Orban Petri".split()
ONSETS = "b d f g h k l m n p r s t v w br dr fl gr kl st tr".split()
RIMES = "a e i o u al el or an en ir ol um as".split()
ENDINGS = "berg dorf feld hausen ingen leben moor rode stadt stein tal wick".split()
GOODS = "glass paper salt silk iron wool amber copper leather linen barley timber".split()


@dataclass(frozen=True)
class Fact:
    """What a passage may tell: sentences with `{town}` and a place for each answer, and questions by answer.

    A sentence is of any order; each answer stands in it once.
    """

    answers: dict[str, str]
    """The kind of each answer, by its place in the sentences."""
    sentences: tuple[str, ...]
    questions: dict[str, tuple[str, ...]]


FACTS = (
    Fact(
        {"founder": "person", "founded": "year"},
        (
            "{town} was founded in {founded} by {founder}.",
            "The town was founded by {founder} in {founded}.",
            "Its founder was {founder}, who laid the first stone in {founded}.",
        ),
        {
            "founder": (
                "Who founded {town}?",
                "By whom was {town} founded?",
                "Who was the founder of {town}?",
            ),
            "founded": ("When was {town} founded?", "In which year was {town} founded?"),
        },
    ),
    Fact(
        {"mayor": "person", "elected": "year"},
        (
            "Its mayor is {mayor}, elected in {elected}.",
            "The mayor was elected in {elected} and is called {mayor}.",
            "Elected as mayor in {elected}, {mayor} leads the town.",
        ),
        {
            "mayor": ("Who is the mayor of {town}?", "Who leads {town} as its mayor?"),
            "elected": ("Since when has {town} had its mayor?", "When was the mayor of {town} elected?"),
        },
    ),
    Fact(
        {"architect": "person", "bridge": "year"},
        (
            "The old bridge was built by {architect} in {bridge}.",
            "The old bridge was built in {bridge} by {architect}.",
            "The architect of the old bridge, built in {bridge}, was {architect}.",
        ),
        {
            "architect": ("Who built the old bridge of {town}?", "By whom was the bridge built?"),
            "bridge": ("When was the old bridge built?", "From which year is the bridge of {town}?"),
        },
    ),
    Fact(
        {"people": "number"},
        (
            "The number of people who live there is {people}.",
            "Its inhabitants are {people} in number.",
            "There live {people} people.",
        ),
        {"people": ("How many people live in {town}?", "How many inhabitants does {town} have?")},
    ),
    Fact(
        {"visitors": "number"},
        (
            "Its summer fair has {visitors} visitors.",
            "The fair in summer is seen by {visitors} visitors.",
            "Visitors of the fair are {visitors} in a summer.",
        ),
        {
            "visitors": (
                "How many visitors come to the fair?",
                "How many visitors does the fair of {town} have?",
            )
        },
    ),
    Fact(
        {"river": "place", "sea": "place"},
        (
            "The river {river} flows by it to the port of {sea}.",
            "On the way to the port of {sea} the river {river} flows by it.",
        ),
        {
            "river": ("Which river flows by {town}?", "On which river is {town}?"),
            "sea": ("To which port does the river flow?", "Which port does the river of {town} reach?"),
        },
    ),
    Fact(
        {"sold": "goods", "bought": "goods"},
        (
            "Its merchants sell {sold} and buy {bought}.",
            "Its merchants buy {bought} and sell {sold}.",
        ),
        {
            "sold": ("What do the merchants of {town} sell?", "What is sold by the merchants?"),
            "bought": ("What do the merchants of {town} buy?", "What is bought by the merchants?"),
        },
    ),
)
TOLD = 4  # facts of a passage; what the others tell cannot be answered


def make_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows with `context`, `question` and `answers` as SQuAD's, the same for the same seed.

    Every passage has a town of its own. Raises ValueError when there are not so many towns.
    """
    draw = random.Random(seed)
    towns = [
        f"{onset}{rime}{ending}".capitalize() for onset in ONSETS for rime in RIMES for ending in ENDINGS
    ]
    if count > ASKED * len(towns):
        raise ValueError(
            f"there are {ASKED * len(towns):,} questions on made passages; {count:,} were asked for"
        )
    draw.shuffle(towns)
    rows: list[dict[str, Any]] = []
    for town in towns:
        rows += _asked(draw, town, len(rows))
        if len(rows) >= count:
            break
    return rows[:count]


def _asked(draw: random.Random, town: str, number: int) -> list[dict[str, Any]]:
    """The questions on one passage, the first of which is the `number`th of all."""
    told = draw.sample(FACTS, TOLD)
    context, starts, texts = _passage(draw, town, told)
    left = [fact for fact in FACTS if fact not in told]
    asked = draw.sample(list(starts), ASKED)
    return [
        _row(draw, town, context, left, None, 0, "")
        if place % UNANSWERABLE == UNANSWERABLE - 1
        else _row(draw, town, context, told, name, starts[name], texts[name])
        for place, name in enumerate(asked, number)
    ]


def _passage(
    draw: random.Random, town: str, told: Sequence[Fact]
) -> tuple[str, dict[str, int], dict[str, str]]:
    """The passage, where each answer begins in it, and the answers."""
    kinds = {name: kind for fact in told for name, kind in fact.answers.items()}
    texts = dict(zip(kinds, _values(draw, list(kinds.values())), strict=True))
    context, starts = f"{town} is a town.", {}
    for fact in told:
        sentence = draw.choice(fact.sentences)
        context += " "
        for part in sentence.replace("{", "\n{").replace("}", "}\n").split("\n"):
            name = part.strip("{}") if part.startswith("{") else ""
            if name in texts:
                starts[name] = len(context)
            context += texts.get(name, town if name == "town" else part)
    return context, starts, texts


def _values(draw: random.Random, kinds: Sequence[str]) -> list[str]:
    """A value for each kind, no two the same."""
    values: list[str] = []
    makers = {
        "person": lambda: f"{draw.choice(FIRST)} {draw.choice(LAST)}",
        "year": lambda: str(draw.randrange(1200, 2000)),
        "number": lambda: f"{draw.randrange(2, 100)},{draw.randrange(1000):03}",
        "place": lambda: f"{draw.choice(ONSETS)}{draw.choice(RIMES)}{draw.choice(RIMES)}".capitalize(),
        "goods": lambda: draw.choice(GOODS),
    }
    for kind in kinds:
        value = makers[kind]()
        while value in values:
            value = makers[kind]()
        values.append(value)
    return values


def _row(
    draw: random.Random,
    town: str,
    context: str,
    facts: Sequence[Fact],
    name: str | None,
    start: int,
    text: str,
) -> dict[str, Any]:
    fact = draw.choice(facts) if name is None else next(fact for fact in facts if name in fact.answers)
    question = draw.choice(fact.questions[name or draw.choice(list(fact.answers))])
    answers = {"text": [text], "answer_start": [start]} if name else {"text": [], "answer_start": []}
    return {"context": context, "question": question.format(town=town), "answers": answers}
