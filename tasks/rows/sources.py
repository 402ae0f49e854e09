"""Which rows come from one source: turns of one conversation, questions about one passage.

The unit of a split is the source, not the row: a test row whose conversation goes on in a training row has
been read before it is asked. Rows share a source when

- a column that the user names (`rows.group_by`) has the same value in them, or a model made them of one
  passage, or one of them of the other, or
- one's conversation is the beginning of the other's, or both begin with the same turns, of 20 words at least
  (a conversation that was expanded turn by turn), or
- they ask about the same passage, as questions whose answer stands in it, or
- their input is the same text of 20 words at least, or one of the parts of their prompts begins with the same
  32 words. What more than 50 rows or a tenth of all have in common is a template, and no source.
"""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence

from tasks.data.duplicates import Groups, words_digest, words_of
from tasks.data.reading import spoken
from tasks.rows.kinds import kind_of
from tasks.rows.row_kind import Row
from tasks.rows.synthetic import linked_to_originals

RULE = 1  # raised when other rows come to be of one source
SHARED_WORDS = 20  # that two conversations begin with, or that a passage has
PREFIX_WORDS = 32  # that two prompts begin with
TEMPLATE_ROWS, TEMPLATE_SHARE, FEW = 50, 0.1, 10  # a text in more of the rows is a template


def source_groups(rows: Sequence[Row]) -> list[int]:
    """For each row the first that is of the same source, itself where there is no other."""
    groups = Groups(len(rows))
    join_sources(groups, rows)
    return groups.smallest().tolist()


def join_sources(groups: Groups, rows: Sequence[Row]) -> None:
    """Join in `groups` the places of rows of one source."""
    groups.join(_linked((place, row["source"]) for place, row in enumerate(rows) if "source" in row))
    groups.join(linked_to_originals(rows))
    kinds = ((place, row, kind_of(row)) for place, row in enumerate(rows))
    groups.join(_linked((place, row[kind.source]) for place, row, kind in kinds if kind and kind.source))
    groups.join(_conversations(rows))
    most = max(FEW, min(TEMPLATE_ROWS, int(TEMPLATE_SHARE * len(rows))))
    passages = ((place, passage) for place, row in enumerate(rows) for passage in _passages(row))
    groups.join(_linked(passages, most))


def _linked(found: Iterable[tuple[int, Hashable]], most: int | None = None) -> list[tuple[int, int]]:
    """Pairs of the first place of each value and each of its others; not of one in more than `most`."""
    places: dict[Hashable, list[int]] = {}
    for place, value in found:
        places.setdefault(value, []).append(place)
    return [
        (first, other)
        for first, *others in places.values()
        if most is None or len(others) < most
        for other in others
    ]


def _conversations(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of rows of which one is the beginning of the other, or that begin with the same turns."""
    whole: dict[bytes, int] = {}
    begun: list[tuple[int, bytes, int]] = []
    for place, row in enumerate(rows):
        *before, (digest, _) = _exchanges(row)
        whole.setdefault(digest, place)
        begun += [(place, digest, words) for digest, words in before]
    first: dict[bytes, int] = {}
    pairs = []
    for place, digest, words in begun:
        if (other := whole.get(digest)) is not None:
            pairs.append((other, place))
        elif words >= SHARED_WORDS:
            pairs.append((first.setdefault(digest, place), place))
    return pairs


def _exchanges(row: Row) -> Iterator[tuple[bytes, int]]:
    """After each answer of a row's conversation: the digest of all up to there, and how many words it has.

    What the system says belongs to no conversation in particular.
    """
    said, words = hashlib.blake2b(digest_size=16), 0
    if kind := kind_of(row):
        parts, answer = kind.parts(row).values(), kind.answer(row) or ""
    else:
        parts = (row["instruction"], row["input"])
        answer = next(row[field] for field in ("output", "chosen") if field in row)
    asked = "\n".join(filter(None, parts))
    user = {"role": "user"} | row.get("asked_by", {})
    last = [user | {"content": asked}, {"role": "assistant", "content": answer}]
    for turn in [*row.get("messages", ()), *last]:
        if turn["role"] == "system":
            continue
        heard = words_of(spoken(turn))
        words += len(heard)
        said.update("\n".join((turn["role"], *heard, "")).encode())
        if turn["role"] == "assistant":
            yield said.digest(), words


def _passages(row: Row) -> Iterator[bytes]:
    """Digests of what a source gives to each of its rows: the whole input, and how each part begins.

    Each of two texts that are labelled together may be a source's, as a premise that has several hypotheses.
    """
    kind = kind_of(row)
    parts = kind.parts(row) if kind else {part: row.get(part, "") for part in ("instruction", "input")}
    shared = ("input",) if kind is None else kind.sources or (parts if len(parts) > 1 else ())
    for part, text in parts.items():
        words = words_of(text)
        if part in shared and len(words) >= SHARED_WORDS:
            yield words_digest((part, *words))
        if len(words) > PREFIX_WORDS:
            yield words_digest(("beginning", *words[:PREFIX_WORDS]))
