"""Questions that are other words for the same question, found in time linear in their words.

Prompts are often too short for `tasks.duplicates`, whose rule needs some twenty words before it takes one
of them for a trifle. What tells a short question from another is its answer. Two prompts with the same answer
are rewordings of each other when

- they have the same words in another order ("Is gold a tool or a metal?", "Is gold a metal or a tool?"), or
- one word, put in, left out or replaced, is all that differs between them, and at least two words around
  it, or five where the answer is a label, are the same ("Explain recursion", "Please explain recursion";
  "30 or 27, which is larger?", "30 or 12").

With other answers they are different questions: "Add 12 and 35" and "Add 12 and 36". The rule was made for
the templated prompts of the `quickstart`, and checked on the 1,100 instructions of the `book` and on SMS
Spam, where a label is the answer and a message with another telephone number the same message. It does not
see synonyms, two replaced words, or a question turned into another form.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.duplicates import Groups, Parts, words_of

AROUND = 2  # words of the part in which one word differs that must be the same
AROUND_LABELLED = 5  # the same where the answer is a label, which many questions share
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))
_BETWEEN = 0  # the number of what stands between two parts


def traces(prompt: Parts, answer: str, around: int = AROUND) -> Iterator[Hashable]:
    """The rule itself, row by row: two prompts are rewordings when they have a trace in common."""
    said = _said(answer)
    parts = [words_of(part) for part in prompt]
    if any(len(part) >= around for part in parts):
        yield tuple(sorted(said)), tuple(tuple(sorted(part)) for part in parts)
    for place, part in enumerate(parts):
        others = said, place, tuple(parts[:place]), tuple(parts[place + 1 :])
        for position in range(len(part)):  # one word replaced there, or left out
            if len(part) > around:
                yield others, position, (*part[:position], *part[position + 1 :])
        for position in range(len(part) + 1):  # or put in
            if len(part) >= around:
                yield others, position, part


def _said(answer: str) -> tuple[str, ...]:
    return words_of(answer) or (answer.strip(),)


def join_rewordings(
    groups: Groups, prompts: Sequence[Parts], answers: Sequence[str | None], around: int = AROUND
) -> None:
    """Join in `groups` the places of prompts that are rewordings; one without an answer is none."""
    texts = _Texts.of(prompts, answers)
    for found in (texts.one_word_apart(around), texts.reordered(around)):
        pairs = np.array(list(found), dtype=np.int64).reshape(-1, 2)
        groups.join(pairs)


@dataclass(frozen=True)
class _Texts:
    """Prompts as numbers of words, one after another, each part with a mark behind it."""

    words: np.ndarray
    """(words,): the number of each word, and `_BETWEEN` behind each part."""
    starts: np.ndarray
    """(texts + 1,): where each text begins, and the end of the last."""
    places: np.ndarray
    """(texts,): the place among those given, since those without an answer are left out."""
    answers: np.ndarray
    """(texts,): the number of the answer, the same for the same words in the same order."""
    answer_bags: np.ndarray
    """(texts,): the same, whatever the order of the words."""

    @classmethod
    def of(cls, prompts: Sequence[Parts], answers: Sequence[str | None]) -> "_Texts":
        number_of: dict[str, int] = {}
        answer_of: dict[tuple[str, ...], int] = {}
        bag_of: dict[tuple[str, ...], int] = {}
        words: list[int] = []
        starts, places, numbers, bags = [0], [], [], []
        for place, (parts, answer) in enumerate(zip(prompts, answers, strict=True)):
            if answer is None:
                continue
            for part in parts:
                words += [number_of.setdefault(word, len(number_of) + 1) for word in words_of(part)]
                words.append(_BETWEEN)
            said = _said(answer)
            starts.append(len(words))
            places.append(place)
            numbers.append(answer_of.setdefault(said, len(answer_of)))
            bags.append(bag_of.setdefault(tuple(sorted(said)), len(bag_of)))
        return cls(*(np.array(each, dtype=np.int64) for each in (words, starts, places, numbers, bags)))

    def one_word_apart(self, around: int) -> Iterator[tuple[int, int]]:
        """Pairs of places that link all that differ in one word: each text is entered without each word.

        Two that are the same without the word at the same position differ in that word. One that is the
        same without a word as another with all of its own has that word more.
        """
        if not len(self.words):
            return
        owner = np.repeat(np.arange(len(self.places)), np.diff(self.starts))
        position = np.arange(len(self.words)) - self.starts[owner]
        values = _scattered(self.words.astype(np.uint64) + np.uint64(1)) * _powers(position)
        before = np.cumsum(values, dtype=np.uint64) - values  # of all words before each, of earlier texts too
        first = before[self.starts[:-1]]  # every text has a mark at least
        total = np.add.reduceat(values, self.starts[:-1])
        before = before - first[owner]
        left = self._words_of_part() - 1  # words that stay of the part, or the part without its mark
        is_word = self.words != _BETWEEN
        without = before + (total[owner] - before - values) * _INVERSE
        answer = _scattered(self.answers.astype(np.uint64)[owner] + np.uint64(1))
        place = _scattered(position.astype(np.uint64) + np.uint64(1)) * _INVERSE
        removable = is_word & (left >= around)
        # A word could be put in before each word and before each mark.
        widenable = (left + is_word) >= around
        keys = np.concatenate(
            [
                (without ^ answer)[removable] + place[removable],
                (total[owner] ^ answer)[widenable] + place[widenable],
            ]
        )
        holders = np.concatenate([owner[removable], owner[widenable]])
        removed = np.concatenate([position[removable], np.full(int(widenable.sum()), -1)])
        yield from self._confirmed(keys, holders, removed)

    def _words_of_part(self) -> np.ndarray:
        """For every word the count of its part's words; for a mark one more."""
        marks = np.flatnonzero(self.words == _BETWEEN)
        sizes = np.diff(marks, prepend=-1) - 1
        part = np.searchsorted(marks, np.arange(len(self.words)))
        return sizes[part] + (self.words == _BETWEEN)

    def _confirmed(
        self, keys: np.ndarray, holders: np.ndarray, removed: np.ndarray
    ) -> Iterator[tuple[int, int]]:
        """Of those with the same key each with the first one, where it truly is the same."""
        order = np.lexsort([holders, keys])
        keys, holders, removed = keys[order], holders[order], removed[order]
        same = keys[1:] == keys[:-1]
        head = np.flatnonzero(np.concatenate([[True], ~same]))
        leader = np.repeat(head, np.diff(np.append(head, len(keys))))
        for each in np.flatnonzero(np.concatenate([[False], same])).tolist():
            one, other = int(leader[each]), each
            if holders[one] != holders[other] and self._rest(holders[one], removed[one]) == self._rest(
                holders[other], removed[other]
            ):
                yield int(self.places[holders[one]]), int(self.places[holders[other]])

    def _rest(self, text: int, removed: int) -> tuple[int, list[int]]:
        """The answer and the words of a text without the one at a position; -1 leaves all of them."""
        words = self.words[self.starts[text] : self.starts[text + 1]].tolist()
        if removed >= 0:
            del words[removed]
        return int(self.answers[text]), words

    def reordered(self, around: int) -> Iterator[tuple[int, int]]:
        """Pairs of places that link all that have the same words in each part, and in their answers."""
        first: dict[tuple[int, tuple[tuple[int, ...], ...]], int] = {}
        for text, place in enumerate(self.places.tolist()):
            parts: list[list[int]] = [[]]
            for word in self.words[self.starts[text] : self.starts[text + 1]].tolist():
                if word == _BETWEEN:
                    parts.append([])
                else:
                    parts[-1].append(word)
            if max(map(len, parts)) >= around:
                key = int(self.answer_bags[text]), tuple(tuple(sorted(part)) for part in parts)
                if (earlier := first.setdefault(key, place)) != place:
                    yield earlier, place


def _scattered(numbers: np.ndarray) -> np.ndarray:
    """Numbers (any,) of 64 bits that look random, another for each (splitmix64, Steele et al. 2014)."""
    mixed = numbers * _BASE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(exponents: np.ndarray) -> np.ndarray:
    """Powers of the base modulo 2**64, for exponents (any,) from 0."""
    powers = np.full(int(exponents.max(initial=0)) + 1, _BASE)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)[exponents]
