"""Questions that are other words for the same question, found in time linear in their words.

Prompts are often too short for `tasks.duplicates`, whose rule needs some twenty words before it takes one
of them for a trifle. What tells a short question from another is its answer. Two prompts with the same answer
are rewordings of each other when

- they have the same words in another order ("Is gold a tool or a metal?", "Is gold a metal or a tool?"), or
- one word, put in, left out or replaced, is all that differs between them, and at least two words around
  it, or five where the answer is a label, are the same ("Explain recursion", "Please explain recursion";
  "30 or 27, which is larger?", "30 or 12"). Prompts of more than 64 words are left to `tasks.duplicates`.

With other answers they are different questions: "Add 12 and 35" and "Add 12 and 36". The rule was made for
the templated prompts of the `quickstart`, and checked on the 1,100 instructions of the `book` and on SMS
Spam, where a label is the answer and a message with another telephone number the same message. It does not
see synonyms, two replaced words, or a question turned into another form.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.duplicates import Groups, Parts, words_of

RULE = 2  # raised when other prompts come to be rewordings
AROUND = 2  # words of the part in which one word differs that must be the same
AROUND_LABELLED = 5  # the same where the answer is a label, which many questions share
LONGEST = 64  # words of a prompt
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))
_BETWEEN = 0  # the number of what stands between two parts
_BLOCK = 2**20  # words hashed at once
_ENTRIES = 2**23  # hashes sorted at once
_CHECKED = 2**16  # pairs compared at once


def join_rewordings(
    groups: Groups, prompts: Sequence[Parts], answers: Sequence[str | None], around: int = AROUND
) -> None:
    """Join in `groups` the places of prompts that are rewordings; one without an answer is none.

    Pairs that others link already are not looked at.
    """
    texts = _Texts.of(prompts, answers)
    for find, says in ((texts.reordered, texts.bags), (texts.one_word_apart, texts.without)):
        for ones, others in find(around):
            for start in range(0, len(ones), _CHECKED):
                chunk = slice(start, start + _CHECKED)
                groups.join(texts.verified(groups.smallest(), says, ones[chunk], others[chunk]))


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
        answer_of: dict[bytes, int] = {}
        bag_of: dict[bytes, int] = {}
        words, starts, places, numbers, bags = array("i"), array("q", [0]), array("q"), array("i"), array("i")
        for place, (parts, answer) in enumerate(zip(prompts, answers, strict=True)):
            if answer is None:
                continue
            for part in parts:
                words.extend(number_of.setdefault(word, len(number_of) + 1) for word in words_of(part))
                words.append(_BETWEEN)
            said = words_of(answer) or (answer.strip(),)
            starts.append(len(words))
            places.append(place)
            numbers.append(answer_of.setdefault(_digest(said), len(answer_of)))
            bags.append(bag_of.setdefault(_digest(sorted(said)), len(bag_of)))
        return cls(*map(np.asarray, (words, starts, places, numbers, bags)))

    def reordered(self, around: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Entries among which all with the same words in each part are, and in their answers, in pairs.

        A text's entry is -1 minus the place of its first word.
        """
        keys = np.zeros(len(self.places), dtype=np.uint64)
        for block in self._blocks():
            begin, end = self.starts[block.start], self.starts[block.stop]
            words, starts = self.words[begin:end].astype(np.uint64), self.starts[block] - begin
            part = np.cumsum(words == _BETWEEN)
            part -= np.repeat(part[starts], self._sizes(block))
            keys[block] = np.add.reduceat(_scattered(words ^ _scattered(part.astype(np.uint64))), starts)
            keys[block] += _scattered(self.answer_bags[block].astype(np.uint64))
            longest = np.maximum.reduceat(_in_parts(self.words[begin:end]), starts)
            keys[block][longest < around] = 0
        able = np.flatnonzero(keys)
        yield _paired(keys[able], -1 - self.starts[able])

    def bags(self, text: int, _entry: int) -> tuple[int, list[list[int]]]:
        """The answer and the words of each part, whatever their order."""
        parts: list[list[int]] = [[]]
        for word in self.words[self.starts[text] : self.starts[text + 1]].tolist():
            if word == _BETWEEN:
                parts[-1].sort()
                parts.append([])
            else:
                parts[-1].append(word)
        return self.answer_bags[text], parts

    def one_word_apart(self, around: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Entries among which all that differ in one word are, in pairs, or are linked by others.

        Each text is entered without each of its words, under the hash of what is left; two that are the same
        without the word at the same position differ in that word. And it is entered whole at each position
        at which a word could be put in: one that is the same without its word there has that word more. An
        entry is the place of the word, or -1 minus the place before which none is missing.
        """
        turns = 1 + 2 * len(self.words) // _ENTRIES
        for turn in range(turns):  # each takes other hashes, so that few are in memory
            found = list(self._entries(around, turns, turn))
            if found:
                yield _paired(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def without(self, text: int, entry: int) -> tuple[int, bytes]:
        """The answer and the words of a text without the word of an entry, if it has one."""
        words = self.words[self.starts[text] : self.starts[text + 1]]
        left = words if entry < 0 else np.delete(words, entry - self.starts[text])
        return self.answers[text], left.tobytes()

    def _entries(self, around: int, turns: int, turn: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hashes and entries of some texts at a time."""
        for block in self._blocks():
            keys, entries = self._hashed(block, around)
            own = keys % np.uint64(turns) == turn
            yield keys[own], entries[own]

    def _blocks(self) -> Iterator[slice]:
        start = 0
        while start < len(self.places):
            stop = int(np.searchsorted(self.starts, self.starts[start] + _BLOCK, side="right")) - 1
            stop = max(stop, start + 1)
            yield slice(start, stop)
            start = stop

    def _sizes(self, block: slice) -> np.ndarray:
        return np.diff(self.starts[block.start : block.stop + 1])

    def _hashed(self, block: slice, around: int) -> tuple[np.ndarray, np.ndarray]:
        begin, end = self.starts[block.start], self.starts[block.stop]
        words, starts, sizes = self.words[begin:end], self.starts[block] - begin, self._sizes(block)
        position = np.arange(len(words)) - np.repeat(starts, sizes)
        values = _scattered(words.astype(np.uint64)) * _powers(position)
        before = np.cumsum(values, dtype=np.uint64) - values  # of all words before each, of earlier texts too
        before -= np.repeat(before[starts], sizes)
        whole = np.repeat(np.add.reduceat(values, starts), sizes)
        answers = _scattered(self.answers[block].astype(np.uint64))
        salt = np.repeat(answers, sizes) + _scattered(position.astype(np.uint64)) * _INVERSE
        without = before + (whole - before - values) * _INVERSE
        is_word = words != _BETWEEN
        in_part = _in_parts(words)
        short = np.repeat(sizes - np.add.reduceat(~is_word, starts) <= LONGEST, sizes)
        removable = short & is_word & (in_part > around)
        widenable = short & (in_part >= around)
        places = np.arange(begin, end)
        keys = np.concatenate([(without + salt)[removable], (whole + salt)[widenable]])
        return _scattered(keys), np.concatenate([places[removable], -1 - places[widenable]])

    def verified(
        self, linked: np.ndarray, says: Callable[[int, int], Any], ones: np.ndarray, others: np.ndarray
    ) -> np.ndarray:
        """Pairs of places (pairs, 2) of those entries that say the same; not what `linked` says is joined."""
        first, second = (
            np.searchsorted(self.starts, np.where(entries < 0, -1 - entries, entries), side="right") - 1
            for entries in (ones, others)
        )
        unlinked = linked[self.places[first]] != linked[self.places[second]]
        pairs = array("q")
        for each in np.flatnonzero(unlinked).tolist():
            if says(first[each], ones[each]) == says(second[each], others[each]):
                pairs.extend((self.places[first[each]], self.places[second[each]]))
        return np.asarray(pairs).reshape(-1, 2)


def _paired(keys: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the entries with the same key the first one, and each of the others."""
    order = np.argsort(keys, kind="stable")
    keys, entries = keys[order], entries[order]
    again = np.append(np.zeros(min(1, len(keys)), dtype=bool), keys[1:] == keys[:-1])
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(keys))))
    return entries[first[again]], entries[again]


def _in_parts(words: np.ndarray) -> np.ndarray:
    """For each word and mark (words,) how many words there are in its part."""
    sizes = np.diff(np.flatnonzero(words == _BETWEEN), prepend=-1)
    return np.repeat(sizes - 1, sizes)


def _digest(words: Sequence[str]) -> bytes:
    return hashlib.blake2b("\n".join(words).encode(), digest_size=16).digest()


def _scattered(numbers: np.ndarray) -> np.ndarray:
    """Numbers (any,) of 64 bits that look random, another for each (splitmix64, Steele et al. 2014)."""
    mixed = (numbers + np.uint64(1)) * _BASE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(exponents: np.ndarray) -> np.ndarray:
    """Powers of the base modulo 2**64, for exponents (any,) from 0."""
    powers = np.full(int(exponents.max(initial=0)) + 1, _BASE)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)[exponents]
