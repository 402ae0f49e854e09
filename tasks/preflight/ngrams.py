"""How much of some texts stands in a stream of tokens, which is read once, whatever its size."""

from collections.abc import Sequence

import numpy as np

PLACES = 64  # of each text at which a run of tokens is looked up
CHUNK = 1 << 20  # tokens
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; the base of the rolling hash


def shares_found(stream: np.ndarray, texts: Sequence[np.ndarray], gram: int) -> list[float]:
    """For each text (tokens,) the share of its runs of `gram` tokens that stand in `stream` (tokens,).

    `gram` is a power of two, and every text has so many tokens at least. A run is looked up by a rolling hash
    of 64 bits, first in a bitmap that nearly all miss; of a long text runs all over it are.
    """
    if not texts:
        return []
    largest = max(int(text.max()) for text in texts)
    values = np.random.default_rng(0).integers(0, 2**64, size=2**16 if largest < 2**16 else 2**20, dtype="u8")
    hashes, owners = [], []
    for number, text in enumerate(texts):
        runs = len(text) - gram + 1
        first = np.unique(np.linspace(0, runs - 1, min(runs, PLACES)).astype(np.int64))
        hashes.append(_hashed(text, values, gram)[first])
        owners.append(np.full(len(first), number))
    wanted, owner = np.concatenate(hashes), np.concatenate(owners)
    distinct = np.unique(wanted)
    bits = max(16, min(27, len(distinct).bit_length() + 5))
    shift = np.uint64(64 - bits)
    bitmap = np.zeros(1 << bits, dtype=bool)
    bitmap[distinct >> shift] = True
    present = np.zeros(len(distinct), dtype=bool)
    for start in range(0, len(stream) - gram + 1, CHUNK):
        found = _hashed(stream[start : start + CHUNK + gram - 1], values, gram)
        found = found[bitmap[found >> shift]]
        places = np.searchsorted(distinct, found)
        places[places == len(distinct)] = 0
        present[places[distinct[places] == found]] = True
    hits = present[np.searchsorted(distinct, wanted)]
    return (np.bincount(owner, hits) / np.bincount(owner)).tolist()


def _hashed(tokens: np.ndarray, values: np.ndarray, gram: int) -> np.ndarray:
    """The polynomial hash of every run of `gram` tokens, modulo 2^64, by doubling: of 1, 2, 4 ..."""
    found = values[np.asarray(tokens) & (len(values) - 1)]
    length, factor = 1, MULTIPLIER
    with np.errstate(over="ignore"):
        while length < gram:
            found = found[:-length] * factor + found[length:]
            length, factor = 2 * length, factor * factor
    return found
