"""All pairs of sets that share most of their members, without comparing every two: an exact join.

Two sets that share all but a few members share, of any few in a fixed order, the first, the second and so on,
each near the beginning of both. So every set is entered under its chains of members in which no more are
skipped than two similar sets may differ by, the rarest members first, and a chain is made longer only while
too many sets are under it to be compared with each other (prefix filtering, Chaudhuri et al., A Primitive
Operator for Similarity Joins, 2006; longer prefixes as they pay, Wang, Li and Feng, Can We Beat the Prefix
Filtering?, 2012). What stands under one chain is compared by a bitmap first, whose bits differ in no more
places than the sets do, and what is left member by member.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

COMPARED = 48  # sets under one chain up to which comparing every two is cheaper than a longer chain
LOOPED = 1024  # sets under one chain up to which all chains are compared at once, and not one by one
ENTRY = 4  # pairs can be compared in the time that a set takes to be entered under a longer chain
PATIENCE, MORE = 4, 1.25  # members that a chain may grow by in vain, and pairs to compare for each of them
ENTRIES = 2**21  # made at once
PAIRS = 2**18  # of which it is looked up whether they are similar
CHECKED = 2**15  # of those at once
BITMAP = 4  # words of 64 bits a set, and one more of its rare members
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that products spread over the upper bits
TRIFLE = 1e-9  # that a product of a share and a size may be off by

Linked = Callable[[], np.ndarray]
"""A number for every set (sets,); pairs of sets with one number need not be found."""


class Sets:
    """Sets of the same universe, whose members are ranks: the rarest member of all sets is 0.

    Of `count` sets, `members` are all of theirs, set after set from `starts` (count + 1,), ascending in each
    and distinct. Only sets of one of the `kinds` (count,) are ever similar. `parts` (ranks,) says which part
    of a set a member is of, and `rare` how many ranks are rare.
    """

    def __init__(
        self, members: np.ndarray, starts: np.ndarray, kinds: np.ndarray, parts: np.ndarray, rare: int
    ) -> None:
        self.members, self.starts, self.kinds, self.parts, self.rare = members, starts, kinds, parts, rare
        self.sizes = np.diff(starts).astype(np.int32)
        count = len(kinds)
        self.rare_sizes = np.zeros(count, dtype=np.int32)
        self.part_sizes = np.zeros((count, int(parts.max(initial=0)) + 1), dtype=np.int32)
        self.bitmaps = np.zeros((count, BITMAP + 1), dtype=np.uint64)
        start = 0
        while start < count:
            stop = int(np.searchsorted(starts, starts[start] + ENTRIES, side="right")) - 1
            stop = min(max(stop, start + 1), count)
            self._summarise(slice(start, stop))
            start = stop
        held = np.bincount(members, minlength=len(parts)) if len(members) else np.zeros(0)
        self.shared_from = int((held < 2).sum())
        """The rank from which on a member is in two sets at least."""

    def _summarise(self, block: slice) -> None:
        members = self.members[self.starts[block.start] : self.starts[block.stop]]
        count, sizes = block.stop - block.start, self.sizes[block]
        owners = np.repeat(np.arange(count), sizes)
        rare = members < self.rare
        self.rare_sizes[block] = np.bincount(owners[rare], minlength=count)
        for part in range(self.part_sizes.shape[1]):
            own = self.parts[members] == part
            self.part_sizes[block, part] = np.bincount(owners[own], minlength=count)
        filled = np.flatnonzero(sizes)
        if not len(filled):
            return
        begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])[filled]
        with np.errstate(over="ignore"):
            hashes = (members.astype(np.uint64) + np.uint64(1)) * MULTIPLIER
        bit = np.uint64(1) << (hashes >> np.uint64(58))
        word = (hashes >> np.uint64(50)) % np.uint64(BITMAP)
        for number in range(BITMAP):
            values = np.where(word == number, bit, np.uint64(0))
            self.bitmaps[block.start + filled, number] = np.bitwise_xor.reduceat(values, begins)
        values = np.where(rare, bit, np.uint64(0))
        self.bitmaps[block.start + filled, BITMAP] = np.bitwise_xor.reduceat(values, begins)


def similar_pairs(
    sets: Sets, share: float, rare_share: float, linked: Linked | None = None
) -> Iterator[np.ndarray]:
    """Pairs of sets (pairs, 2) that share `share` of every part and `rare_share` of all their rare members.

    Shares are Jaccard's: what both have of what either has. Sets without a rare member are like none. Every
    pair is found, the smaller first, some more than once; not those of which `linked` says, whenever it is
    asked, that others link the two already.
    """
    search = _Search(sets, share, rare_share, linked)
    buffer, held = [np.empty((0, 2), dtype=np.int64)], 0
    for candidates in search.candidates():
        buffer.append(candidates)
        held += len(candidates)
        if held >= PAIRS:
            yield from search.verified(buffer)
            buffer, held = buffer[:1], 0
    yield from search.verified(buffer)


@dataclass(frozen=True)
class _Entries:
    """Sets under chains of `length` members: each the set, the place behind the chain's last, the chain.

    Ordered by chain, chains numbered from 0. `stalled` is how many members ago a chain's last one parted the
    sets well. Of several `turns` over them each takes other members.
    """

    sets: np.ndarray
    places: np.ndarray
    chains: np.ndarray
    stalled: np.ndarray
    length: int
    turn: int = 0
    turns: int = 1

    def __getitem__(self, which: slice | np.ndarray) -> "_Entries":
        columns = (self.sets, self.places, self.chains, self.stalled)
        return _Entries(*(column[which] for column in columns), self.length)


class _Search:
    """The search of `similar_pairs`."""

    def __init__(self, sets: Sets, share: float, rare_share: float, linked: Linked | None) -> None:
        self.sets, self.share, self.rare_share, self._linked = sets, share, rare_share, linked
        # How many members of a set a similar one may lack: of all, and of the rare ones.
        self._skips = np.floor(sets.part_sizes * (1 - share) + TRIFLE).sum(axis=1).astype(np.int64)
        self._rare_skips = np.floor(sets.rare_sizes * (1 - rare_share) + TRIFLE).astype(np.int64)
        self._groups: np.ndarray | None = None
        self._ask()

    def _ask(self) -> None:
        if self._linked:
            self._groups = self._linked()

    def _unlinked(self, left: np.ndarray, right: np.ndarray) -> np.ndarray | slice:
        return slice(None) if self._groups is None else self._groups[left] != self._groups[right]

    # Which pairs may be similar

    def candidates(self) -> Iterator[np.ndarray]:
        """Pairs (pairs, 2) among which all similar ones are, some of them more than once."""
        able = np.flatnonzero(self.sets.rare_sizes)
        _, kinds = np.unique(self.sets.kinds[able], return_inverse=True)
        order = np.argsort(kinds, kind="stable")
        start = np.zeros(len(able), dtype=np.int64)
        under, todo = _several(able[order], start, kinds[order], start, 0), []
        while True:
            counts = np.bincount(under.chains)[under.chains]
            yield from self._every_two(under[counts <= COMPARED])
            many = self._worth_more(under[counts > COMPARED])
            ripe = self.sets.sizes[many.sets] - self._skips[many.sets] <= many.length
            yield from self._with_all(many, ripe)
            todo += self._in_pieces(many[~ripe])
            if not todo:
                return
            under, no_fewer = self._under_longer(todo.pop())
            counts = np.bincount(no_fewer.chains)[no_fewer.chains]
            yield from self._every_two(no_fewer[counts <= LOOPED])
            rest = no_fewer[counts > LOOPED]
            yield from self._with_all(rest, np.ones(len(rest.sets), dtype=bool))

    def _worth_more(self, entries: _Entries) -> _Entries:
        """Without the chains under which all sets are linked already."""
        if self._groups is None or not len(entries.sets):
            return entries
        groups = self._groups[entries.sets]
        starts = _starts(entries.chains)
        apart = np.minimum.reduceat(groups, starts) != np.maximum.reduceat(groups, starts)
        return entries[np.repeat(apart, np.diff(starts, append=len(groups)))]

    def _every_two(self, entries: _Entries) -> Iterator[np.ndarray]:
        counts = np.bincount(entries.chains)[entries.chains]
        order = np.argsort(-counts, kind="stable")
        sets, chains, counts = entries.sets[order], entries.chains[order], -counts[order]
        for step in range(1, -int(counts.min(initial=0))):
            stop = int(np.searchsorted(counts, -step))  # those of whose chain there are more
            same = chains[: stop - step] == chains[step:stop]
            yield from self._possible(sets[: stop - step][same], sets[step:stop][same])

    def _with_all(self, entries: _Entries, ripe: np.ndarray) -> Iterator[np.ndarray]:
        """Each of the `ripe`, for which no longer chain is to be had, with all that are under its chain."""
        starts = _starts(entries.chains)
        for start, stop in zip(starts, [*starts[1:], len(entries.sets)], strict=True) if ripe.any() else ():
            members = entries.sets[start:stop]
            rest = members[~ripe[start:stop]]
            members = np.concatenate([members[ripe[start:stop]], rest])
            for place in range(len(members) - len(rest)):
                others = members[place + 1 :]
                if self._groups is not None and (self._groups[others] == self._groups[members[place]]).all():
                    break
                yield from self._possible(np.full(len(others), members[place]), others)

    def _possible(self, left: np.ndarray, right: np.ndarray) -> Iterator[np.ndarray]:
        """The pairs that sizes and bitmaps do not exclude."""
        sets = self.sets
        apart = self._unlinked(left, right)
        left, right = left[apart], right[apart]
        for column, sizes, share in (
            (slice(BITMAP, None), sets.rare_sizes, self.rare_share),
            (slice(BITMAP), sets.sizes, self.share),
        ):
            ours, theirs = sizes[left], sizes[right]
            # Of sizes a and b, at a Jaccard of j, (a + b) (1 - j) / (1 + j) members are not shared.
            most = (ours + theirs) * ((1 - share) / (1 + share)) + TRIFLE
            unlike = np.bitwise_count(sets.bitmaps[left, column] ^ sets.bitmaps[right, column])
            kept = (unlike.sum(axis=1, dtype=np.int32) <= most) & (np.abs(ours - theirs) <= most)
            left, right = left[kept], right[kept]
        if len(left):
            yield np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)

    # Longer chains

    def _reach(self, entries: _Entries) -> np.ndarray:
        """How many members may be the next of each chain: no more may be skipped than a similar set lacks."""
        sizes, rare = self.sets.sizes[entries.sets], self.sets.rare_sizes[entries.sets]
        skips, rare_skips = self._skips[entries.sets], self._rare_skips[entries.sets]
        skipped = entries.places - entries.length
        rare_left = np.maximum(rare - entries.places, 0)
        within = np.where(
            (rare_left > 0) & (skipped + rare_left > rare_skips), np.minimum(skips, rare_skips), skips
        )
        return np.minimum(within - skipped + 1, sizes - entries.places)

    def _in_pieces(self, entries: _Entries) -> list[_Entries]:
        """Whole chains, so many that their longer ones are held in memory; one that is too large in turns."""
        made = np.concatenate([[0], np.cumsum(self._reach(entries))])
        bounds = np.append(_starts(entries.chains), len(entries.sets))
        pieces, first = [], 0
        while first < len(bounds) - 1:
            start = int(bounds[first])
            last = int(np.searchsorted(made[bounds], made[start] + ENTRIES, side="right")) - 1
            last = max(last, first + 1)
            piece = entries[start : int(bounds[last])]
            turns = 1 + int(made[bounds[last]] - made[start]) // ENTRIES
            pieces += [replace(piece, turn=turn, turns=turns) for turn in range(turns)]
            first = last
        return pieces

    def _under_longer(self, entries: _Entries) -> tuple[_Entries, _Entries]:
        """The same sets under every chain that has one more member, but for chains with one set.

        And those, under the chain that they are under, of which too many would be compared again and again
        under several longer chains: whole chains of sets that are much alike.
        """
        starts = _starts(entries.chains)
        counts = np.diff(starts, append=len(entries.sets))
        entries = replace(entries, chains=np.repeat(np.arange(len(starts)), counts))
        ahead = self._ahead(entries)
        # What all under a chain have next is shared by every two of them: no need to skip it.
        same = np.minimum.reduceat(ahead, starts) == np.maximum.reduceat(ahead, starts)
        same &= ahead[starts] >= 0
        reach = np.where(np.repeat(same, counts), 1, self._reach(entries))
        pairs = counts * (counts - 1) / 2
        longer = same | (np.add.reduceat(reach, starts) * ENTRY < pairs) | (entries.turns > 1)
        reach[np.repeat(~longer, counts)] = 0
        sets, places, keys = self._extended(entries, reach)
        behind = _starts(keys)
        sizes = np.diff(behind, append=len(keys))
        parents = keys[behind] // len(self.sets.parts)
        work = np.bincount(parents, sizes * (sizes - 1) / 2, minlength=len(starts))
        # Members that always stand together part the sets by the first of them alone.
        stalled = entries.stalled[starts]
        stalled = np.where(2 * work <= pairs, 0, np.where(same, stalled, stalled + 1))
        longer &= (
            same | (stalled == 0) | ((stalled <= PATIENCE) & (work <= MORE * pairs)) | (entries.turns > 1)
        )
        parents = keys // len(self.sets.parts)
        kept = longer[parents]
        under = sets[kept], places[kept], keys[kept], stalled[parents[kept]]
        return _several(*under, entries.length + 1), entries[np.repeat(~longer, counts)]

    def _ahead(self, entries: _Entries) -> np.ndarray:
        """The member at each place; -1 behind the last."""
        more = entries.places < self.sets.sizes[entries.sets]
        places = np.where(more, self.sets.starts[entries.sets] + entries.places, 0)
        return np.where(more, self.sets.members[places], -1)

    def _extended(self, entries: _Entries, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sets, places and keys of the longer chains, in the order of the keys: chain, then next member."""
        ends, start, made = np.cumsum(reach), 0, []
        while start < len(reach):
            done = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + ENTRIES, side="right")))
            made.append(self._next(entries, slice(start, stop), reach[start:stop]))
            start = stop
        sets, places, ranks, chains = map(np.concatenate, zip(*made, strict=True))
        keys = chains * np.int64(len(self.sets.parts)) + ranks
        order = np.argsort(keys)
        return sets[order], places[order] + 1, keys[order]

    def _next(self, entries: _Entries, which: slice, reach: np.ndarray) -> tuple[np.ndarray, ...]:
        row = np.repeat(np.arange(which.start, which.stop), reach)
        steps = np.arange(len(row)) - np.repeat(np.cumsum(reach) - reach, reach)
        sets, places = entries.sets[row], entries.places[row] + steps
        ranks = self.sets.members[self.sets.starts[sets] + places]
        kept = (ranks >= self.sets.shared_from) & (ranks % entries.turns == entries.turn)
        return sets[kept], places[kept], ranks[kept], entries.chains[row[kept]]

    # Which pairs are similar

    def verified(self, candidates: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Those of the candidates that are similar, each once."""
        count = len(self.sets.kinds)
        keys = np.unique(np.concatenate([pairs[:, 0] * count + pairs[:, 1] for pairs in candidates]))
        while len(keys):
            pairs = np.stack(np.divmod(keys[:CHECKED], count), axis=1)
            keys = keys[CHECKED:]
            pairs = pairs[self._unlinked(*pairs.T)]
            pairs = pairs[self._similar(*pairs.T)]
            if len(pairs):
                yield pairs
                self._ask()

    def _similar(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        sets, width = self.sets, self.sets.part_sizes.shape[1]
        keys = np.sort(np.concatenate([self._members(left), self._members(right)]))
        pair, rank = np.divmod(keys[:-1][keys[1:] == keys[:-1]], max(1, len(sets.parts)))
        shared = np.bincount(pair * width + sets.parts[rank], minlength=len(left) * width)
        shared = shared.reshape(len(left), width)
        either = sets.part_sizes[left] + sets.part_sizes[right] - shared
        rare_shared = np.bincount(pair[rank < sets.rare], minlength=len(left))
        rare_either = sets.rare_sizes[left] + sets.rare_sizes[right] - rare_shared
        alike = (shared / np.maximum(either, 1) >= self.share) | (either == 0)
        return alike.all(axis=1) & (rare_shared / rare_either >= self.rare_share)

    def _members(self, which: np.ndarray) -> np.ndarray:
        """The members of each of these sets, behind the place that the set has here."""
        sizes = self.sets.sizes[which].astype(np.int64)
        row = np.repeat(np.arange(len(which)), sizes)
        steps = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return row * len(self.sets.parts) + self.sets.members[self.sets.starts[which][row] + steps]


def _starts(chains: np.ndarray) -> np.ndarray:
    """Where each chain begins among entries in the order of their chains."""
    return np.flatnonzero(np.diff(chains, prepend=-1))


def _several(
    sets: np.ndarray, places: np.ndarray, keys: np.ndarray, stalled: np.ndarray, length: int
) -> _Entries:
    """Entries in the order of their `keys`, as chains numbered from 0, but for keys that stand once."""
    starts = _starts(keys)
    counts = np.diff(starts, append=len(keys))
    kept = np.repeat(counts > 1, counts)
    chains = np.repeat(np.arange(int((counts > 1).sum())), counts[counts > 1])
    return _Entries(sets[kept], places[kept], chains, stalled[kept], length)
