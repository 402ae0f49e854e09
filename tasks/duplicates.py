"""Texts that are the same but for a trifle, found among tens of thousands within seconds.

Two texts are near duplicates when they have the same words in the same order, whatever their case, spacing
and punctuation, or when both of these hold:

- nine tenths of their pairs of neighbouring words are shared (Jaccard), and all of their numbers;
- half of those are shared that are not turns of phrase. What stands in more than a hundredth of all texts
  belongs to a template: prompts that differ in nothing else but one word do ask different things.

"Add 12 and 35" is therefore not "Add 12 and 36", nor is a list of words the same list in another order; a
long text with a filler word more is the same text.
"""

import math
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SHARED = 0.9  # of all pairs of words
OWN_SHARED = 0.5  # of those that are no turn of phrase
_BITS = 30  # for the number of a word
PHRASE_SHARE, PHRASE_COUNT = 0.01, 10  # a pair in more than so many texts is a turn of phrase

Parts = tuple[str, ...]
"""A text in parts that are compared each on its own: a long instruction makes no two rows the same."""

# Numbers whole; a character of a script without spaces; a word; a sign that carries meaning (3 + 5, C#).
# Punctuation of sentences is no word.
WORD = re.compile(
    r"\d+(?:[.,:]\d+)*"
    r"|[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W\d\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
    r"|[^\w\s.,;:!?'\"()\[\]“”‘’„«»…–—、。，；：！？「」]"
)


def words_of(text: str) -> tuple[str, ...]:
    """Words, numbers and signs in their order, without case and the punctuation of sentences."""
    return tuple(WORD.findall(text.casefold()))


def near_duplicates(texts: Sequence[Parts]) -> list[tuple[int, int]]:
    """Pairs of indices, the smaller first and sorted, that link every text to those it nearly duplicates.

    Of texts with the same words each is paired with the first of them only, and that one alone with texts
    which differ by more: following the pairs leads from any text to all of its kind.
    """
    first: dict[tuple[tuple[str, ...], ...], int] = {}
    pairs: list[tuple[int, int]] = []
    for index, parts in enumerate(texts):
        words = tuple(map(words_of, parts))
        if not any(words):  # nothing but punctuation: itself alone is the same
            words = (tuple(part for text in parts for part in text.split()),)
        if (earlier := first.setdefault(words, index)) != index:
            pairs.append((earlier, index))
    indices = list(first.values())
    pairs += [(indices[one], indices[other]) for one, other in _alike(_Pairs.of(list(first)))]
    return sorted(pairs)


def groups_of(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` indices the smallest one that pairs lead to."""
    group = list(range(count))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        group[high] = low
    return [root(index) for index in range(count)]


Texts = Sequence[tuple[tuple[str, ...], ...]]
"""Texts as the words of their parts."""


@dataclass(frozen=True)
class _Pairs:
    """The pairs of neighbouring words of each text, each pair as its rank: the rarest of all texts first."""

    ranks: np.ndarray
    """Text after text, ascending and distinct within each."""
    parts: np.ndarray
    """The part that each stands in."""
    starts: np.ndarray
    """Where each text begins, and the end of the last."""
    phrases: int
    """The rank from which on a pair is a turn of phrase."""
    numbers: list[tuple[tuple[str, ...], ...]]
    """The numbers in each text, by part."""

    @classmethod
    def of(cls, texts: Texts) -> "_Pairs":
        number_of: dict[str, int] = {"": 0}  # the empty word stands before the first and after the last
        codes, owners = array("q"), array("q")
        for owner, text in enumerate(texts):
            for part, words in enumerate(text):
                numbers = [number_of.setdefault(word, len(number_of)) for word in words]
                if numbers:
                    base = part << 2 * _BITS
                    codes.extend(
                        base + (a << _BITS) + b for a, b in zip([0, *numbers], [*numbers, 0], strict=True)
                    )
                    owners.extend([owner] * (len(numbers) + 1))
        distinct, place = np.unique(np.frombuffer(codes, dtype=np.int64), return_inverse=True)
        # Each pair of a text once, as one number: its text, then its place among the distinct ones.
        once = np.sort(np.frombuffer(owners, dtype=np.int64) * max(1, len(distinct)) + place)
        once = once[np.diff(once, prepend=-1) > 0]
        owner, place = np.divmod(once, max(1, len(distinct)))
        counts = np.bincount(place, minlength=len(distinct))
        rank = np.empty_like(counts)
        rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        order = np.lexsort([rank[place], owner])
        most = max(PHRASE_COUNT, PHRASE_SHARE * len(texts))
        return cls(
            rank[place][order],
            (distinct >> 2 * _BITS)[place][order],
            np.searchsorted(owner, np.arange(len(texts) + 1)),
            int((counts <= most).sum()),
            [tuple(tuple(w for w in words if w[0].isdigit()) for words in text) for text in texts],
        )

    def are_near(self, one: int, other: int) -> bool:
        a, b = (slice(self.starts[text], self.starts[text + 1]) for text in (one, other))
        for part in range(len(self.numbers[one])):
            ours, theirs = (set(self.ranks[text][self.parts[text] == part].tolist()) for text in (a, b))
            if _jaccard(ours, theirs) < SHARED:
                return False
        ours, theirs = (set(self.ranks[text][self.ranks[text] < self.phrases].tolist()) for text in (a, b))
        return bool(ours) and _jaccard(ours, theirs) >= OWN_SHARED


def _alike(pairs: _Pairs) -> Iterator[tuple[int, int]]:
    """Exact: sets that share so much must share one of their few rarest members (Chaudhuri et al. 2006)."""
    sizes = np.diff(pairs.starts).tolist()
    holders: defaultdict[object, list[int]] = defaultdict(list)
    for text in sorted(range(len(sizes)), key=lambda text: (sizes[text], text)):
        start, size = int(pairs.starts[text]), sizes[text]
        rarest = pairs.ranks[start : start + size - math.ceil(SHARED * size) + 1].tolist() if size else []
        candidates: set[int] = set()
        for rank in rarest:
            earlier = holders[rank, pairs.numbers[text]]
            candidates.update(earlier)
            earlier.append(text)
        for other in sorted(candidates):
            if sizes[other] >= SHARED * size and pairs.are_near(text, other):
                yield min(text, other), max(text, other)


def _jaccard(one: set[int], other: set[int]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 1.0
