"""Tags of words and the entities that they mark: schemes of tags, and what is counted of entities.

An entity is a run of words of one type; it is found where its first word, its last and its type are. B-X
begins one, I-X goes on, O is outside. An I-X that nothing of its type stands before begins one all the same,
as Tjong Kim Sang's conlleval (CoNLL-2000) counts it, and seqeval without its strict mode.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
ENTITY = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
BEGINS, GOES_ON = "BSU", "IEL"  # of BIO, BILOU (last, unit) and BIOES (end, single)


class Span(NamedTuple):
    """An entity: its first word, the one behind its last, its type."""

    start: int
    stop: int
    type: str


def marks_entities(sentences: Iterable[Sequence[str]]) -> bool:
    """Whether tags mark entities; else each is of its word alone, as parts of speech are."""
    found = {tag for tags in sentences for tag in tags}
    return all(tag == OUTSIDE or ENTITY.fullmatch(tag) for tag in found)


def scheme_of(sentences: Sequence[Sequence[str]]) -> str:
    """`plain`, `BIO`, `IOB1`, `BILOU` or `BIOES`.

    IOB1 has a B only where an entity follows another of its type at once. What is neither wholly BIO nor
    wholly IOB1 is BIO with faults, which a check before training names.
    """
    if not marks_entities(sentences):
        return "plain"
    prefixes = {tag[0] for tags in sentences for tag in tags if tag != OUTSIDE}
    if prefixes & {"L", "U"}:
        return "BILOU"
    if prefixes & {"E", "S"}:
        return "BIOES"
    if any(fault(tags) is not None for tags in sentences) and all(map(_is_iob1, sentences)):
        return "IOB1"
    return "BIO"


def _is_iob1(tags: Sequence[str]) -> bool:
    return all(
        tag[:2] != "B-" or (before != OUTSIDE and before[2:] == tag[2:])
        for before, tag in zip([OUTSIDE, *tags], tags, strict=False)
    )


def as_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """The tags of a sentence in BIO; plain ones as they are."""
    if scheme == "plain":
        return list(tags)
    found, before = [], OUTSIDE
    for tag in tags:
        if tag == OUTSIDE:
            found.append(tag)
        elif scheme == "IOB1" and tag[0] == "I":
            goes_on = before != OUTSIDE and before[2:] == tag[2:]
            found.append(f"{'I' if goes_on else 'B'}-{tag[2:]}")
        else:
            found.append(f"{'B' if tag[0] in BEGINS else 'I'}-{tag[2:]}")
        before = tag
    return found


def fault(tags: Sequence[str]) -> int | None:
    """The place of the first tag that goes on with an entity which nothing has begun, or None."""
    for place, (before, tag) in enumerate(zip([OUTSIDE, *tags], tags, strict=False)):
        if tag[:2] == "I-" and (before == OUTSIDE or before[2:] != tag[2:]):
            return place
    return None


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence in BIO; of plain tags each word is one."""
    if not marks_entities([tags]):
        return [Span(place, place + 1, tag) for place, tag in enumerate(tags)]
    found: list[Span] = []
    begun: int | None = None
    for place, (before, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        is_new = tag == OUTSIDE or tag[0] == "B" or before[2:] != tag[2:]
        if begun is not None and is_new:
            found.append(Span(begun, place, before[2:]))
            begun = None
        if tag != OUTSIDE and begun is None:
            begun = place
    return found


class Counts(NamedTuple):
    """Entities: found rightly, there, and found."""

    both: int
    true: int
    given: int

    @property
    def precision(self) -> float:
        return self.both / self.given if self.given else 0.0

    @property
    def recall(self) -> float:
        return self.both / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        every = self.true + self.given
        return 2 * self.both / every if every else 0.0


def counts_of(truth: Sequence[str], given: Sequence[str], kind: str | None = None) -> Counts:
    """Of a sentence, or of the entities of one type in it."""
    one, other = (
        {span for span in spans(tags) if kind is None or span.type == kind} for tags in (truth, given)
    )
    return Counts(len(one & other), len(one), len(other))


def total(counts: Iterable[Counts]) -> Counts:
    """Over sentences."""
    return Counts(*map(sum, zip(Counts(0, 0, 0), *counts, strict=True)))
