"""Right answers made wrong in one place: a number, a name or noun, a negation; and answers to like questions.

A judge who counts the words that an answer has in common with the reference takes them for right.
"""

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from tasks.data.duplicates import folded, words_of
from tasks.judge.audit.languages import FUNCTION_WORDS, Language, common_language, language_of, negated
from tasks.judge.protocol.responses import ResponseRow

LIKE = 0.4  # of the words of two questions together, that like ones share
FREQUENT = 200  # rows with a word, from which it brings no two questions together
SHORTEST = 3  # characters of a noun

Word = Literal["term", "name", "noun"]
Donors = dict[Word, list[str]]

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BULLET = re.compile(r"^[ \t]*\d+[.)]\s", re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_OPENING, _CLOSING = tuple("'\"“‘«„「"), tuple("'\"”’»“」")
_ENDS_SENTENCE = re.compile(r"[.!?:。！？\n]")


def changed_number(text: str, draw: random.Random) -> str | None:
    """The text with one of its numbers changed in one digit, the numbers of a list's items apart.

    The digit is the first that is not 0, of four digits and more the second after it: 1889 is no year like
    2889, and neither is 1888 much of an error.
    """
    items = {match.start() + match.group().index(match.group().strip()) for match in _BULLET.finditer(text)}
    numbers = [match for match in _NUMBER.finditer(text) if match.start() not in items]
    if not numbers:
        return None
    number = draw.choice(numbers)
    digits = [place for place in range(*number.span()) if text[place].isdecimal()]
    values = {place: unicodedata.decimal(text[place]) for place in digits}
    first = next((place for place in digits if values[place]), digits[0])
    following = [place for place in digits if place > first]
    place = following[0] if len(following) >= 3 else first
    others = [value for value in range(1, 10) if value != values[place]]
    zero = ord(text[place]) - values[place]  # in the digits of its own script
    return f"{text[:place]}{chr(zero + draw.choice(others))}{text[place + 1 :]}"


def words_to_swap(text: str, language: Language | None) -> Iterator[tuple[Word, int, int]]:
    """Where words stand that say what a text is about: terms, alone in quotation marks; names, which have a
    capital within a sentence; nouns, which follow an article."""
    before, end = "", 0
    for match in _WORD.finditer(text):
        between, word = text[end : match.start()], match.group()
        quoted = between[-1:] in _OPENING
        starts_sentence = end == 0 or quoted or bool(_ENDS_SENTENCE.search(between))
        plain = folded(word)
        if plain not in FUNCTION_WORDS and len(word) >= SHORTEST:
            if quoted and text[match.end() :].lstrip(".,")[:1] in _CLOSING:
                yield "term", *match.span()
            elif word[0].isupper() and not starts_sentence:
                yield "name", *match.span()
            elif language and before in language.articles and not between.strip(" '’"):
                yield "noun", *match.span()
        before, end = plain, match.end()


def swapped_word(
    text: str, question: str, language: Language | None, donors: Donors, seed: str
) -> str | None:
    """The text with one term, name or noun, wherever it stands, exchanged for one of another row.

    It is one that the question does not say: that is the answer, or a part of it. No noun counts that the
    question says too: "the symbol of water" is little changed as "the formula of water".
    """
    draw = random.Random(seed)
    asked = set(words_of(question))
    own = asked.union(words_of(text))
    words: dict[tuple[bool, Word], list[str]] = defaultdict(list)
    for kind, start, end in words_to_swap(text, language):
        words[asked.issuperset(words_of(text[start:end])), kind].append(text[start:end])
    for place in ((False, "term"), (False, "name"), (False, "noun"), (True, "term"), (True, "name")):
        if place not in words:
            continue
        word, others = draw.choice(words[place]), donors[place[1]]
        begin = draw.randrange(len(others))
        fit = (other for other in others[begin:] + others[:begin] if own.isdisjoint(words_of(other)))
        if other := next(fit, None):
            return re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", other, text)
    return None


@dataclass(frozen=True)
class Sources:
    """What errors of one row are made from: the other rows, and the language of most of them."""

    language: Language | None
    donors: Donors
    rows: Sequence[ResponseRow]
    words: Sequence[frozenset[str]]
    """Of the questions, row by row."""
    having: dict[str, list[int]]
    """Rows by a word of their question."""

    @classmethod
    def of(cls, rows: Sequence[ResponseRow]) -> Self:
        language = common_language("\n".join([*row.question, row.reference]) for row in rows)
        donors: dict[Word, set[str]] = {"term": set(), "name": set(), "noun": set()}
        words, having = [], defaultdict(list)
        for place, row in enumerate(rows):
            text = row.reference
            for kind, start, end in words_to_swap(text, _language_of(row, language)):
                donors[kind].add(text[start:end])
            words.append(frozenset(words_of("\n".join(row.question))))
            for word in words[-1]:
                having[word].append(place)
        return cls(language, {kind: sorted(own) for kind, own in donors.items()}, rows, words, having)

    def language_of(self, row: ResponseRow) -> Language | None:
        return _language_of(row, self.language)

    def negated(self, row: ResponseRow) -> str | None:
        return negated(row.reference.strip(), self.language_of(row))

    def swapped(self, row: ResponseRow, seed: int) -> str | None:
        text = row.reference.strip()
        question = "\n".join(row.question)
        return swapped_word(text, question, self.language_of(row), self.donors, f"{seed} {text}")

    def like_answer(self, row: ResponseRow) -> str | None:
        """The reference of the question most like a row's, where each asks for something that the other
        does not, and neither answer holds all words of the other."""
        asked = frozenset(words_of("\n".join(row.question)))
        own = set(words_of(row.reference))
        near = {place for word in asked if len(self.having[word]) <= FREQUENT for place in self.having[word]}
        best: tuple[float, str] | None = None
        for place in near:
            other = self.words[place]
            alike = len(asked & other) / len(asked | other)
            if alike < LIKE or not (asked - other - FUNCTION_WORDS and other - asked - FUNCTION_WORDS):
                continue
            answer = self.rows[place].reference.strip()
            said = set(words_of(answer))
            if not said <= own and not own <= said:
                best = max(best, (alike, answer)) if best else (alike, answer)
        return best[1] if best else None


def _language_of(row: ResponseRow, common: Language | None) -> Language | None:
    """That of the reference, else of the row, else of most rows: short answers do not tell theirs."""
    return language_of(row.reference) or language_of("\n".join([*row.question, row.reference])) or common
