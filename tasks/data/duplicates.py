"""Texts that are the same but for a trifle, found among a million within minutes.

Two texts are near duplicates when they have the same words in the same order, whatever their case, spacing
and punctuation, or when both of these hold:

- nine tenths of their pairs of neighbouring words are shared (Jaccard), and all of their numbers;
- half of those are shared that are not turns of phrase. What stands in more than a hundredth of all texts
  belongs to a template: prompts that differ in nothing else but one word do ask different things.

"Add 12 and 35" is therefore not "Add 12 and 36", nor is a list of words the same list in another order; a
long text with a filler word more is the same text.

A rule says which texts belong together by joining their places in `Groups`; several rules share one.
"""

import hashlib
import re
import unicodedata
from array import array
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tasks.data.similar_sets import Sets, similar_pairs

RULE = 2  # raised when other texts come to be near duplicates
SHARED = 0.9  # of all pairs of words
OWN_SHARED = 0.5  # of those that are no turn of phrase
PHRASE_SHARE, PHRASE_COUNT = 0.01, 10  # a pair in more than so many texts is a turn of phrase
_BITS = 30  # for the number of a word
_BLOCK = 2**22  # words numbered, and pairs ranked, at once
_LEAD = 3  # words by which a text is recognised: few others begin so
_EDGE = 0  # the number of the empty word before the first and after the last

Key = TypeVar("Key", bound=Hashable)
Parts = tuple[str, ...]
"""A text in parts that are compared each on its own: a long instruction makes no two rows the same."""

# Numbers whole; a character of a script without spaces; a word; a sign that carries meaning (3 + 5, C#).
# Punctuation of sentences is no word.
WORD = re.compile(
    r"\d+(?:[.,:]\d+)*"
    r"|[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W\d\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
    r"|[^\w\s.,;:!?'\"()\[\]“”‘’„«»…–—、。，！？：；「」]"
)


def words_of(text: str) -> tuple[str, ...]:
    """Words, numbers and signs in their order, without case and the punctuation of sentences."""
    return tuple(WORD.findall(folded(text)))


def words_digest(words: Sequence[str]) -> bytes:
    """16 bytes that tell words in their order from any others."""
    return hashlib.blake2b("\n".join(words).encode(), digest_size=16).digest()


def folded(text: str) -> str:
    """Without what looks the same or is not seen: case, width, composed signs, characters of no width."""
    if text.isascii():
        return text.lower()
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold()


def standing_in(texts: Mapping[Key, Sequence[str]], words: Iterable[str]) -> set[Key]:
    """Those of `texts`, in words, that stand in `words` one word behind another; in one pass over these."""
    begun_by: dict[tuple[str, ...], list[Key]] = defaultdict(list)
    for key, own in texts.items():
        begun_by[tuple(own[:_LEAD])].append(key)
    leads = sorted({len(lead) for lead in begun_by} - {0})
    found: set[Key] = set()
    last: deque[str] = deque(maxlen=_LEAD)
    under_way: list[tuple[Key, int]] = []  # with how many of its words have been seen
    for word in words:
        last.append(word)
        under_way = [(key, seen + 1) for key, seen in under_way if texts[key][seen] == word]
        window = tuple(last)
        under_way += [
            (key, size) for size in leads for key in begun_by.get(window[-size:], ()) if len(window) >= size
        ]
        if under_way:
            found.update(key for key, seen in under_way if seen == len(texts[key]))
            under_way = [(key, seen) for key, seen in under_way if key not in found]
    return found


class Groups:
    """Places that belong together: the sets that pairs of them join (union and find)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def join(self, pairs: np.ndarray | Sequence[tuple[int, int]]) -> None:
        """Join the two places of each of `pairs` (pairs, 2); all that belong to either belong together."""
        parent, pairs = self._parent, np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        while len(pairs):
            roots = self.smallest()[pairs]
            pairs = roots[roots[:, 0] != roots[:, 1]]
            # Of all that would take a root along the smallest wins; the others are tried again.
            np.minimum.at(parent, pairs.max(axis=1), pairs.min(axis=1))

    def smallest(self) -> np.ndarray:
        """For each place (count,) the smallest that it belongs together with."""
        while True:
            above = self._parent[self._parent]
            if np.array_equal(above, self._parent):
                return self._parent
            self._parent[:] = above


def near_duplicates(texts: Sequence[Parts]) -> list[tuple[int, int]]:
    """Pairs of indices, the smaller first and sorted, that link every text to those it nearly duplicates.

    Of texts with the same words each is paired with the first of them only, and that one alone with texts
    which differ by more: following the pairs leads from any text to all of its kind. Of one kind there can be
    as many pairs as the square of its texts; `join_near_duplicates` needs no memory for them.
    """
    sets, first, copies = _word_pairs(texts)
    found = [copies, *(first[pairs] for pairs in similar_pairs(sets, SHARED, OWN_SHARED))]
    return sorted({(int(a), int(b)) for pairs in found for a, b in np.sort(pairs, axis=1)})


def join_near_duplicates(groups: Groups, texts: Sequence[Parts]) -> None:
    """Join in `groups` the places of texts that are near duplicates.

    The groups are those that `near_duplicates` leads to; a pair that others link already is not looked at.
    """
    sets, first, copies = _word_pairs(texts)
    groups.join(copies)
    linked = Groups(len(first))
    for pairs in similar_pairs(sets, SHARED, OWN_SHARED, lambda: linked.smallest()):
        linked.join(pairs)
        groups.join(first[pairs])


class _Numbering(dict[str, int]):
    """A number for every word, in the order in which they are first asked for."""

    def __init__(self) -> None:
        super().__init__({"": _EDGE})
        self.digits: set[int] = set()
        """The numbers of words that are numbers themselves."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        if word[0].isdigit():
            self.digits.add(number)
        return number


_NEXT_PART = array("i", [-1]).tobytes()


def _word_pairs(texts: Sequence[Parts]) -> tuple[Sets, np.ndarray, np.ndarray]:
    """The pairs of neighbouring words of each distinct text; where it stands first; and what copies it.

    Distinct texts have other words, or another order of them. Copies (pairs, 2) are the place where a text
    stands first and the place of its copy. Of a text no more is kept than 4 bytes a word, twice.
    """
    number_of = _Numbering()
    words, lengths, parts, owners = array("i"), array("q"), array("b"), array("i")
    first, copies, kinds = array("q"), array("q"), array("q")
    seen: dict[bytes, int] = {}
    kind_of: dict[bytes, int] = {}
    for index, text in enumerate(texts):
        found = [WORD.findall(folded(part)) for part in text]
        if not any(found):  # nothing but punctuation: itself alone is the same
            found = [[sign for part in text for sign in part.split()]]
        numbered = [array("i", map(number_of.__getitem__, part)) for part in found]
        key = hashlib.blake2b(_NEXT_PART.join(part.tobytes() for part in numbered), digest_size=16).digest()
        if (earlier := seen.setdefault(key, len(first))) != len(first):
            copies.extend((first[earlier], index))
            continue
        digits = number_of.digits
        numbers = [array("i", [n for n in part if n in digits]).tobytes() for part in numbered]
        kinds.append(kind_of.setdefault(_NEXT_PART.join(numbers), len(kind_of)))
        for place, part in enumerate(numbered):
            if part:
                words.extend(part)
                lengths.append(len(part))
                parts.append(place)
                owners.append(len(first))
        first.append(index)
    segments = _Segments(*map(np.asarray, (words, lengths, parts, owners)))
    sets = _ranked(segments, len(first), np.asarray(kinds))
    return sets, np.asarray(first), np.asarray(copies).reshape(-1, 2)


class _Segments:
    """Runs of words (words,), each a part of a text: its length, its part and its text, (segments,)."""

    def __init__(self, words: np.ndarray, lengths: np.ndarray, parts: np.ndarray, owners: np.ndarray) -> None:
        self._words, self._lengths, self._parts, self._owners = words, lengths, parts.astype(np.int64), owners
        self._ends = np.concatenate([[0], np.cumsum(lengths)])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of neighbouring words as one number each, and their texts; whole texts, some millions."""
        start, count = 0, len(self._lengths)
        while start < count:
            stop = int(np.searchsorted(self._ends, self._ends[start] + _BLOCK, side="right")) - 1
            stop = min(max(stop, start + 1), count)
            if stop < count:  # no text is cut: back to where this one begins, or on to where it ends
                begin = int(np.searchsorted(self._owners, self._owners[stop]))
                end = int(np.searchsorted(self._owners, self._owners[stop - 1], side="right"))
                stop = begin if begin > start else end
            yield self._pairs(slice(start, stop))
            start = stop

    def _pairs(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        lengths, ends = self._lengths[block], self._ends
        edged = np.full(int(lengths.sum()) + 2 * len(lengths), _EDGE, dtype=np.int64)
        inside = np.arange(ends[block.stop] - ends[block.start]) + np.repeat(
            2 * np.arange(len(lengths)) + 1, lengths
        )
        edged[inside] = self._words[ends[block.start] : ends[block.stop]]
        pairs = np.repeat(self._parts[block], lengths + 2) << 2 * _BITS
        pairs += edged << _BITS
        pairs[:-1] += edged[1:]
        last = np.zeros(len(edged), dtype=bool)
        last[np.cumsum(lengths + 2) - 1] = True
        return pairs[~last], np.repeat(self._owners[block], lengths + 1)


def _ranked(segments: _Segments, count: int, kinds: np.ndarray) -> Sets:
    """Each text's pairs, the rarest of all texts first, each pair as its rank."""
    distinct = np.empty(0, dtype=np.int64)
    for pairs, _ in segments.blocks():
        distinct = np.union1d(distinct, pairs)
    sizes, counts = np.zeros(count, dtype=np.int64), np.zeros(len(distinct), dtype=np.int64)
    places: list[np.ndarray] = []
    for pairs, owners in segments.blocks():
        own, place = _once(owners, np.searchsorted(distinct, pairs), len(distinct))
        counts += np.bincount(place, minlength=len(distinct))
        sizes[owners[0] : owners[-1] + 1] = np.bincount(own - owners[0], minlength=owners[-1] + 1 - owners[0])
        places.append(place.astype(np.int32))
    order = np.argsort(counts, kind="stable")
    rank = np.empty(len(distinct), dtype=np.int64)
    rank[order] = np.arange(len(distinct))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    members = np.empty(int(starts[-1]), dtype=np.int32)
    for place, start in zip(places, np.cumsum([0, *map(len, places)]), strict=False):
        block = slice(int(start), int(start) + len(place))
        owners = np.searchsorted(starts, np.arange(block.start, block.stop), side="right") - 1
        members[block] = _once(owners, rank[place], len(distinct))[1]
    phrases = int((counts <= max(PHRASE_COUNT, PHRASE_SHARE * count)).sum())
    return Sets(members, starts, kinds, (distinct >> 2 * _BITS)[order].astype(np.int8), phrases)


def _once(owners: np.ndarray, values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, each below `size`, of every owner in ascending order: owners, and values."""
    once = np.sort(owners.astype(np.int64) * size + values)
    return np.divmod(once[np.diff(once, prepend=-1) > 0], max(1, size))
