"""Questions that are other words for the same question, found in time linear in their words.

Prompts are often too short for `tasks.data.duplicates`, whose rule needs some twenty words before it takes
one for a trifle. Two prompts are rewordings of each other, whatever their answers, when they differ only
in words of politeness and English articles ("Explain recursion", "Could you please explain the recursion?").
What else tells a short question from another is its answer. Two prompts with the same answer are rewordings
of each other when

- they have the same words in another order ("Is gold a tool or a metal?", "Is gold a metal or a tool?"), or
- one word, put in, left out or replaced, is all that differs between them, and at least two words around
  it, or five where the answer is a label, are the same ("Explain recursion", "Explain recursion briefly";
  "30 or 27, which is larger?", "30 or 12"), or
- of 8 to 32 words two are put in, left out, replaced or stand elsewhere.

Where the answer is a label, numbers do not count: a message with another telephone number is the same
message. Prompts of more than 64 words are left to `tasks.data.duplicates`. With other answers they are
different questions: "Add 12 and 35" and "Add 12 and 36".

The rule was made for the templated prompts of the `quickstart`, tuned on SMS Spam (two words of 6 or 7 made
other messages the same, of 8 none) and checked on the 1,100 instructions of the `book`. It does not see
synonyms, three replaced words, or a question turned into another form.
"""

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tasks.data.duplicates import Groups, Parts, folded, words_digest, words_of

RULE = 2  # raised when other prompts come to be rewordings
AROUND = 2  # words of the part in which one word differs that must be the same
AROUND_LABELLED = 5  # the same where the answer is a label, which many questions share
LONGEST = 64  # words of a prompt
TWO_FROM, TWO_TO = 8, 32  # words of a prompt of which two may differ
# Without these a prompt asks the same: words of politeness, and English articles.
POLITE = re.compile(
    r"\b(?:(?:can|could|would|will) you|please|kindly|thanks|thank you|for me|tell me|an?|the|bitte|"
    r"por favor|s['’]il (?:vous|te) pla[iî]t|per favore|alsjeblieft|пожалуйста)\b|请|請|ください"
)
CONTENT = 2  # words that are left of a prompt without its politeness, for it to be told from others
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))
_BETWEEN = 0  # the number of what stands between two parts
_BLOCK = 2**20  # words hashed at once
_ENTRIES = 2**23  # hashes sorted at once
_CHECKED = 2**16  # pairs compared at once
_STRIDE = 2 * LONGEST  # more than two words of a prompt can be apart


def join_rewordings(
    groups: Groups, prompts: Sequence[Parts], answers: Sequence[str | None], labelled: bool = False
) -> None:
    """Join in `groups` the places of prompts that are rewordings; with `labelled` the answers are labels.

    A prompt without an answer is a rewording by its politeness alone. Pairs that others link already are not
    looked at.
    """
    around = AROUND_LABELLED if labelled else AROUND
    groups.join(_polite(prompts))
    texts = _Texts.of(prompts, answers, labelled)
    for find, says in (
        (texts.reordered, texts.bags),
        (texts.one_word_apart, texts.without),
        (texts.two_words_apart, texts.without),
    ):
        for ones, others in find(around):
            for start in range(0, len(ones), _CHECKED):
                chunk = slice(start, start + _CHECKED)
                groups.join(texts.verified(groups.smallest(), says, ones[chunk], others[chunk]))


def _polite(prompts: Sequence[Parts]) -> np.ndarray:
    """Pairs (pairs, 2) of the first prompt that asks something and each that asks it in another tone."""
    first: dict[bytes, int] = {}
    pairs = array("q")
    for place, parts in enumerate(prompts):
        said = [words_of(POLITE.sub(" ", folded(part))) for part in parts]
        if sum(map(len, said)) >= CONTENT:
            key = words_digest([word for part in said for word in (*part, "")])
            pairs.extend((first.setdefault(key, place), place))
    return np.asarray(pairs).reshape(-1, 2)


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
    def of(cls, prompts: Sequence[Parts], answers: Sequence[str | None], labelled: bool) -> "_Texts":
        number_of: dict[str, int] = {}
        answer_of: dict[bytes, int] = {}
        bag_of: dict[bytes, int] = {}
        words, starts, places, numbers, bags = array("i"), array("q", [0]), array("q"), array("i"), array("i")
        for place, (parts, answer) in enumerate(zip(prompts, answers, strict=True)):
            if answer is None:
                continue
            for part in parts:
                said = words_of(part)
                if labelled:
                    said = [word for word in said if not word[0].isdigit()]
                words.extend(number_of.setdefault(word, len(number_of) + 1) for word in said)
                words.append(_BETWEEN)
            said = words_of(answer) or (answer.strip(),)
            starts.append(len(words))
            places.append(place)
            numbers.append(answer_of.setdefault(words_digest(said), len(answer_of)))
            bags.append(bag_of.setdefault(words_digest(sorted(said)), len(bag_of)))
        return cls(*map(np.asarray, (words, starts, places, numbers, bags)))

    def reordered(self, around: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Entries among which all with the same words in each part are, and in their answers, in pairs.

        An entry is of a whole text.
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
        yield _paired(keys[able], _whole(self.starts[able]))

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
        at which a word could be put in: one that is the same without its word there has that word more.
        """
        return self._in_turns(2 * len(self.words), lambda block: self._without_one(block, around))

    def two_words_apart(self, _around: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Entries among which all that differ in two words, wherever they stand, are, in pairs.

        Each text is entered whole, without each of its words and without every two of them.
        """
        sizes = np.diff(self.starts)
        count = int((sizes * (sizes + 1) // 2)[(sizes > TWO_FROM) & (sizes < 2 * TWO_TO)].sum())
        return self._in_turns(count, self._without_two)

    def without(self, text: int, entry: int) -> tuple[int, bytes]:
        """The answer and the words of a text without those that an entry leaves out."""
        words = self.words[self.starts[text] : self.starts[text + 1]]
        return self.answers[text], np.delete(words, _left_out(entry, self.starts[text])).tobytes()

    def _in_turns(
        self, count: int, entered: Callable[[slice], Iterator[tuple[np.ndarray, np.ndarray]]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of entries with one hash; each turn takes other hashes, so that few are in memory."""
        turns = 1 + count // _ENTRIES
        for turn in range(turns):
            found = [
                (keys[own], entries[own])
                for block in self._blocks()
                for keys, entries in entered(block)
                for own in [keys % np.uint64(turns) == turn]
            ]
            if found:
                yield _paired(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def _blocks(self) -> Iterator[slice]:
        start = 0
        while start < len(self.places):
            stop = int(np.searchsorted(self.starts, self.starts[start] + _BLOCK, side="right")) - 1
            stop = max(stop, start + 1)
            yield slice(start, stop)
            start = stop

    def _sizes(self, block: slice) -> np.ndarray:
        return np.diff(self.starts[block.start : block.stop + 1])

    def _hashed(self, block: slice) -> "_Hashed":
        """The words of some texts, with a hash of what is before and behind each of them."""
        begin, end = self.starts[block.start], self.starts[block.stop]
        words, starts, sizes = self.words[begin:end], self.starts[block] - begin, self._sizes(block)
        position = np.arange(len(words)) - np.repeat(starts, sizes)
        values = _scattered(words.astype(np.uint64)) * _powers(position)
        before = np.cumsum(values, dtype=np.uint64) - values  # of all words before each, of earlier texts too
        before -= np.repeat(before[starts], sizes)
        whole = np.repeat(np.add.reduceat(values, starts), sizes)
        is_word = words != _BETWEEN
        return _Hashed(
            places=np.arange(begin, end),
            position=position,
            left=np.repeat(sizes, sizes) - position,
            is_word=is_word,
            in_text=np.repeat(sizes - np.add.reduceat(~is_word, starts), sizes),
            in_part=_in_parts(words),
            before=before,
            behind=whole - before - values,
            whole=whole,
            answer=np.repeat(_scattered(self.answers[block].astype(np.uint64)), sizes),
        )

    def _without_one(self, block: slice, around: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hashes and entries of some texts: with a word left out, or one that could be put in, at a place."""
        own = self._hashed(block)
        salt = own.answer + _scattered(own.position.astype(np.uint64)) * _INVERSE
        without = own.before + own.behind * _INVERSE
        short = own.in_text <= LONGEST
        removable = short & own.is_word & (own.in_part > around)
        widenable = short & (own.in_part >= around)
        yield _scattered((without + salt)[removable]), own.places[removable] * _STRIDE
        yield _scattered((own.whole + salt)[widenable]), _whole(own.places[widenable])

    def _without_two(self, block: slice) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hashes and entries of some texts: whole, and with a word or two left out."""
        own = self._hashed(block)
        able = (own.in_text >= TWO_FROM) & (own.in_text <= TWO_TO)
        first = able & (own.position == 0)
        yield _scattered((own.whole + own.answer)[first]), _whole(own.places[first])
        removable = able & own.is_word
        without = own.before + own.behind * _INVERSE + own.answer
        yield _scattered(without[removable]), own.places[removable] * _STRIDE
        # Without the words i < j: what is before i, between them one place further left, behind j two places.
        first_of_two = own.before - (own.whole - own.behind) * _INVERSE + own.answer
        second_of_two = (own.before + own.behind * _INVERSE) * _INVERSE
        for apart in range(1, int(own.left[able].max(initial=1))):
            both = removable[:-apart] & removable[apart:] & (own.left[:-apart] > apart)
            keys = first_of_two[:-apart][both] + second_of_two[apart:][both]
            yield _scattered(keys), own.places[:-apart][both] * _STRIDE + apart

    def verified(
        self, linked: np.ndarray, says: Callable[[int, int], Any], ones: np.ndarray, others: np.ndarray
    ) -> np.ndarray:
        """Pairs of places (pairs, 2) of those entries that say the same; not what `linked` says is joined."""
        first, second = (
            np.searchsorted(self.starts, _place(entries), side="right") - 1 for entries in (ones, others)
        )
        unlinked = linked[self.places[first]] != linked[self.places[second]]
        pairs = array("q")
        for each in np.flatnonzero(unlinked).tolist():
            if says(first[each], ones[each]) == says(second[each], others[each]):
                pairs.extend((self.places[first[each]], self.places[second[each]]))
        return np.asarray(pairs).reshape(-1, 2)


class _Hashed(NamedTuple):
    """Of each word and mark of some texts (words,): where it stands, and hashes of what is around it."""

    places: np.ndarray
    """Among the words of all texts."""
    position: np.ndarray
    """In its text."""
    left: np.ndarray
    """How many words and marks of its text begin with it."""
    is_word: np.ndarray
    in_text: np.ndarray
    """How many words its text has."""
    in_part: np.ndarray
    before: np.ndarray
    behind: np.ndarray
    whole: np.ndarray
    answer: np.ndarray


# An entry is a place among the words, of the first that is left out, and how far behind it the second is, 0
# where there is none; of a text of which no word is left out it is negative.


def _whole(places: np.ndarray) -> np.ndarray:
    return -1 - places


def _place(entries: np.ndarray) -> np.ndarray:
    return np.where(entries < 0, -1 - entries, entries // _STRIDE)


def _left_out(entry: int, start: int) -> list[int]:
    """The positions in a text that begins at `start` of the words that are left out."""
    if entry < 0:
        return []
    first, apart = divmod(int(entry), _STRIDE)
    return [first - start, first - start + apart] if apart else [first - start]


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
