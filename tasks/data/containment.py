"""Texts that stand in others for the most part: a message that another one goes on from, or quotes.

A text is contained in another when three fifths of its runs of four words stand there, numbers left out, and
it has six such runs at least. What stands in more than 64 texts is a turn of phrase and tells nothing. The
rule was tuned on SMS Spam, where messages are sent again with another beginning or end (half of the runs made
other messages the same); it is for labelled texts alone, since a question that holds another one asks
something else.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.data.duplicates import Groups, words_of

RULE = 1  # raised when other texts come to be contained
RUN = 4  # words
LEAST = 6  # runs of a text
SHARE = 0.6  # of them
MOST = 64  # texts that a run may stand in
BLOCK = 2_000  # texts looked up at once
_BASE = np.uint64(0x9E3779B97F4A7C15)


def join_contained(groups: Groups, texts: Sequence[str], labels: Sequence[str]) -> None:
    """Join in `groups` the places of texts of one label of which one is contained in the other."""
    runs, owners = _runs(texts)
    order = np.argsort(runs, kind="stable")
    runs, by_run = runs[order], owners[order]
    numbers = np.unique(np.asarray(labels), return_inverse=True)[1] if len(labels) else np.zeros(0, dtype=int)
    for pairs in _contained(runs, by_run, len(texts)):
        groups.join(pairs[numbers[pairs[:, 0]] == numbers[pairs[:, 1]]])


def _runs(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A hash of every run of words, each once a text, and the texts that they are of."""
    number_of: dict[str, int] = {}
    hashes, owners = [], []
    for place, text in enumerate(texts):
        words = [number_of.setdefault(w, len(number_of) + 1) for w in words_of(text) if not w[0].isdigit()]
        if len(words) >= RUN:
            windows = np.lib.stride_tricks.sliding_window_view(np.asarray(words, dtype=np.uint64), RUN)
            hashed = np.zeros(len(windows), dtype=np.uint64)
            for column in windows.T:
                hashed = (hashed + column) * _BASE
                hashed ^= hashed >> np.uint64(29)
            own = np.unique(hashed)
            hashes.append(own)
            owners.append(np.full(len(own), place))
    if not hashes:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    return np.concatenate(hashes), np.concatenate(owners)


def _contained(runs: np.ndarray, owners: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Pairs (pairs, 2) of a text and one that it is contained in; `runs` are sorted."""
    sizes = np.bincount(owners, minlength=count)
    begins = np.flatnonzero(np.append(True, runs[1:] != runs[:-1])) if len(runs) else np.zeros(0, dtype=int)
    held = np.diff(np.append(begins, len(runs)))  # how many texts each distinct run stands in
    run_of = np.repeat(np.arange(len(begins)), held)  # of each entry
    telling = (held[run_of] > 1) & (held[run_of] <= MOST) & (sizes[owners] >= LEAST)
    entries = np.flatnonzero(telling)
    entries = entries[np.argsort(owners[entries], kind="stable")]
    of_text = owners[entries]
    for start in range(0, count, BLOCK):
        block = slice(*np.searchsorted(of_text, (start, start + BLOCK)))
        own, each = entries[block], run_of[entries[block]]
        ones = np.repeat(of_text[block], held[each])
        firsts = np.repeat(begins[each], held[each])
        within = np.arange(len(ones)) - np.repeat(np.cumsum(held[each]) - held[each], held[each])
        others = owners[firsts + within]
        pairs, shared = np.unique(ones * count + others, return_counts=True)
        ones, others = np.divmod(pairs, count)
        found = (ones != others) & (shared >= SHARE * sizes[ones])
        if len(own) and found.any():
            yield np.stack([ones[found], others[found]], axis=1)
