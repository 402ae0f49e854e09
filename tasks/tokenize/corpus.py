"""The corpus as a stream: measured, split and sampled without ever being in memory.

A document arrives in pieces, here as (number of the document, text). Two passes do: the first measures,
the second encodes what the measures assign to each split.
"""

import hashlib
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.config import TokenizeConfig
from tasks.data.duplicates import Groups, join_near_duplicates
from tasks.data.reading import (
    JSON_LINES,
    EmptyRowError,
    Record,
    RowError,
    read_records,
    text_field,
    text_pieces,
)
from tasks.data.source_files import (
    ending_of,
    require_visible,
    source_of,
    source_places,
    visible_files,
)
from tasks.errors import StageError
from tasks.rows.file_names import is_metadata
from tasks.rows.tables import read_arrow, read_parquet

Pieces = Iterable[tuple[int, str]]
"""Texts with the number of their document, from 0; those of a document follow each other."""

TABLES = {".parquet": read_parquet, ".arrow": read_arrow}
PROGRESS_EVERY = 2**24  # bytes
LONGEST = 2**11  # characters of a word; a longer one is cut, which costs a token in some hundreds
SAMPLE_BLOCK = 2**11  # characters; the tokenizers library reads 256 of them at a time

DRAWS = 100  # of the documents that are held out
CLOSE = 0.05  # shares that a draw's size and mean length may be off together

# Where a text may be cut without changing its pre-tokens under GPT-2's pattern,
#   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
# None of its matches holds whitespace behind a character that is none, nor a letter before a digit or a mark,
# nor a digit before a mark. Only a run of whitespace looks ahead, at the character behind the run, and no cut
# is between those two. Letters and marks are spelled out, because Python and the tokenizers library may know
# different versions of Unicode.
_LETTERS = "A-Za-zぁ-ゖァ-ヺ一-龥가-힣"
_MARKS = r"!-/:-@\[-`{-~、。，！？；：「」『』（）"
BETWEEN_WORDS = re.compile(rf"(?<=\S)[ \t\n]|(?<=[{_LETTERS}])[0-9]|(?<=[0-9{_LETTERS}])[{_MARKS}]")
AT_SPACES = re.compile(r"(?<=\S)\s")
ANYWHERE = re.compile(r"[\s\S]")
NOWHERE = re.compile(r"(?!)")


class TextPart(NamedTuple):
    """Some text of a document of a split; `ends` with the document's last, or with `half_a_word`."""

    split: str
    text: str
    ends: bool
    document: int = 0
    half_a_word: bool = False


class Measures(NamedTuple):
    """`lengths` (documents,) in characters, and the bytes of the whole text in UTF-8.

    `kinds` (documents,) numbers the texts: equal ones have one number, in a small corpus nearly equal ones.
    """

    lengths: np.ndarray
    bytes: int
    kinds: np.ndarray
    sources: Mapping[str, int] = {}
    """Documents of each source, in their order; empty where sources are not told apart."""

    def source_of(self, document: int) -> str | None:
        """The name of a document's source."""
        ends = accumulate(self.sources.values())
        return next((name for name, end in zip(self.sources, ends, strict=True) if document < end), None)


class Corpus:
    """The documents below a folder, in the order of their paths: a text file, or a row's `text`.

    What is malformed, or has no text, ends the reading or is set aside, as the policy says: of JSON a row,
    of text the whole file. Hidden files are none of the corpus, compressed ones are decompressed.
    """

    def __init__(self, folder: Path, config: TokenizeConfig) -> None:
        self.set_aside: dict[str, str] = {}
        """Why, by where it stands; complete once all was read."""
        self.documents_of: dict[str, int] = {}
        """How many documents each of `config.sources` holds, in the order in which they are read."""
        self._folder = folder
        self._malformed = config.malformed
        self._sources = source_places(folder, config.sources, "tokenize.sources")
        self._encoding, self._field = config.encoding, config.field
        self._sound: set[Path] = set()  # text files that were read to their end
        self._empty = 0

    def pieces(self) -> Iterator[tuple[int, str]]:
        """Texts, each with its document's number: a text file comes in pieces, a row in one.

        Raises StageError for a corpus without a document, and for what is malformed.
        """
        self.documents_of = {}
        for number, (file, _, document) in enumerate(self.documents()):
            if self._sources:
                source = source_of(file, self._sources)
                self.documents_of[source] = self.documents_of.get(source, 0) + 1
            for text in document:
                yield number, text

    def where(self, number: int) -> str:
        """What people call a document: its file, and its row there."""
        return next(islice(self.documents(), number, None))[1]

    def require_sound(self, documents: int) -> None:
        """Once all was read: raise StageError when more is malformed than was read, or nothing was.

        Rows without a text are not counted: they say nothing against the format.
        """
        if documents and len(self.set_aside) - self._empty <= documents:
            return
        (where, why), *_ = self.set_aside.items()
        count = len(self.set_aside)
        raise StageError(
            f"{count} of the corpus' {count + documents} documents are malformed or empty; the first, "
            f"{where}: {why}. A corpus is .txt, .md, .json or .jsonl, rows with a 'text'; fix it"
        )

    def documents(self) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Each document's file, what people call it, and its text in pieces.

        Raises StageError as `pieces` does.
        """
        files = list(visible_files(self._folder))
        require_visible(self._folder, files, "the corpus holds no file")
        names = {name for _, name in files}
        for path, name in files:
            ending = ending_of(name)
            if is_metadata(name, names):
                continue
            if ending in (".txt", ".md", ""):
                if self._is_sound(path, name):
                    yield name, name, text_pieces(path, name, encoding=self._encoding)
                continue
            for record in self._records(path, name, ending):
                try:
                    text = text_field(record, "text", "completion")
                except RowError as error:
                    self._put_aside(error)
                else:
                    yield name, record[0], [text]

    def _records(self, path: Path, name: str, ending: str) -> Iterator[Record]:
        if ending in (".json", *JSON_LINES):
            return read_records(path, name, self._put_aside, encoding=self._encoding, field=self._field)
        if ending in TABLES:
            return TABLES[ending](path, name)
        raise StageError(
            f"{name}: a corpus is .txt, .md, .json or .jsonl, also compressed (.gz, .bz2, .xz, .zst), or "
            f"{' or '.join(TABLES)}, found {ending}"
        )

    def _is_sound(self, path: Path, name: str) -> bool:
        """Whether a text file can be read to its end, which takes reading it, once."""
        if name not in self.set_aside and path not in self._sound:
            try:
                for _ in text_pieces(path, name, encoding=self._encoding):
                    pass
                self._sound.add(path)
            except StageError as error:  # empty, or not text
                self._put_aside(RowError(name, str(error).removeprefix(name).strip()))
        return path in self._sound

    def _put_aside(self, error: RowError) -> None:
        if self._malformed == "stop":
            raise StageError(
                f"{error}. Fix it, or set tokenize.malformed=set-aside to leave out what is malformed and "
                "count it"
            ) from error
        self._empty += error.where not in self.set_aside and isinstance(error, EmptyRowError)
        self.set_aside[error.where] = error.why


def measure(pieces: Pieces, progress: Callable[[int], None]) -> Measures:
    """Read everything once; `progress` is told the bytes so far, now and then."""
    lengths, digests, size, told = array("q"), array("Q"), 0, 0
    for number, text in pieces:
        if number == len(lengths):
            lengths.append(0)
            digests.append(0)
            digest = hashlib.blake2b(digest_size=8)
        encoded = text.encode()
        lengths[number] += len(text)
        size += len(encoded)
        digest.update(encoded)
        digests[number] = int.from_bytes(digest.digest())
        if size - told >= PROGRESS_EVERY:
            told = size
            progress(size)
    _, kinds = np.unique(np.array(digests, dtype=np.uint64), return_inverse=True)
    return Measures(np.array(lengths, dtype=np.int64), size, kinds)


def with_near_kinds(measures: Measures, pieces: Pieces) -> Measures:
    """With near duplicates of one kind, of which some would be learned and others held out."""
    texts = ["".join(text for _, text in own) for _, own in groupby(pieces, key=itemgetter(0))]
    groups = Groups(len(texts))
    join_near_duplicates(groups, [(text,) for text in texts])
    return measures._replace(kinds=np.unique(groups.smallest(), return_inverse=True)[1])


def training_lengths(measures: Measures, config: TokenizeConfig) -> np.ndarray:
    """How many characters of each document (documents,) are trained on; what follows them is validation.

    Validation gets `config.validation` of the characters, or as near as whole documents come to that. Of
    many documents whole ones are held out, drawn by seed, those of a kind together; of fewer than ten, or
    when whole ones miss the share by half of it, the end of their text is.

    Where sources are told apart each gives that share, and what is held out of one is trained on in none.
    """
    if not measures.sources:
        return _training_lengths(measures, config)
    lengths, at = [], 0
    for count in measures.sources.values():
        own = slice(at, at + count)
        kinds = np.unique(measures.kinds[own], return_inverse=True)[1]
        lengths.append(_training_lengths(Measures(measures.lengths[own], 0, kinds), config))
        at += count
    found = np.concatenate(lengths)
    return np.where(np.isin(measures.kinds, measures.kinds[found == 0]), 0, found)


def _training_lengths(measures: Measures, config: TokenizeConfig) -> np.ndarray:
    """As `training_lengths`, of one stream of documents."""
    lengths = measures.lengths
    total = int(lengths.sum())
    wanted = math.floor(total * config.validation)
    at_the_end = np.clip(total - wanted - (np.cumsum(lengths) - lengths), 0, lengths)
    if len(lengths) < 10 or not wanted:
        return at_the_end
    held_out = _drawn(np.bincount(measures.kinds, lengths), np.bincount(measures.kinds), wanted, config.seed)
    return at_the_end if held_out is None else np.where(held_out[measures.kinds], 0, lengths)


def _drawn(characters: np.ndarray, documents: np.ndarray, wanted: int, seed: int) -> np.ndarray | None:
    """Which kinds (kinds,) are held out, given the characters and documents of each; None for no good draw.

    Filling a share with whatever still fits holds out short documents, and stopping with the one that is too
    much long ones. So a draw stops where it comes nearest to `wanted`, and of several that one is taken
    whose documents are of the mean length of all, as nearly as can be.
    """
    random, mean = np.random.RandomState(seed), characters.sum() / documents.sum()  # its stream never changes
    best, least = None, math.inf
    for _ in range(DRAWS):
        order = random.permutation(len(characters))
        filled = np.cumsum(characters[order])
        count = int(np.searchsorted(filled, wanted))
        short = wanted - (filled[count - 1] if count else 0)
        drawn = order[: count + bool(filled[count] - wanted < short)]
        size = characters[drawn].sum()
        if abs(size - wanted) >= wanted / 2:
            continue
        off = abs(size / wanted - 1) + abs(size / documents[drawn].sum() / mean - 1)
        if off < least:
            best, least = drawn, off
        if off < CLOSE:
            break
    return None if best is None else np.isin(np.arange(len(characters)), best)


def split_parts(pieces: Pieces, lengths: np.ndarray, training: np.ndarray) -> Iterator[TextPart]:
    """Assign every character to its split; what a document gives to a split is a document there."""
    current, at = -1, 0
    for number, text in pieces:
        if number != current:
            current, at, kept, length = number, 0, int(training[number]), int(lengths[number])
        for split, start, stop in (("train", 0, kept), ("validation", kept, length)):
            if part := text[max(start - at, 0) : max(stop - at, 0)]:
                yield TextPart(split, part, at + len(text) >= stop, number)
        at += len(text)


def cut(parts: Iterable[TextPart], where: re.Pattern, size: int) -> Iterator[TextPart]:
    """The same text in parts of `size` characters or, where `where` matches later, a little more.

    Where it does not match within `LONGEST` characters more, the word that stands there is cut: what a
    tokenizer does with a word grows faster than the word, and the memory with it. No shorter one is cut, and
    nothing when `where` is NOWHERE. How the text arrives does not matter to the result.
    """
    held: list[str] = []
    length, last = 0, ""  # of what is held, but for the last character: it decides about a cut after it
    for part in parts:
        text, start = last + part.text, 0
        while True:
            limit = len(text) if where is NOWHERE else start + size + LONGEST - length
            match = where.search(text, start + max(1, size - length), limit + 1)
            if match is None and len(text) <= limit:
                break
            stop = match.start() if match else limit
            yield part._replace(
                text="".join([*held, text[start:stop]]), ends=False, half_a_word=match is None
            )
            held, length, start = [], 0, stop
        if part.ends:
            yield part._replace(text="".join([*held, text[start:]]))
            held, length, last = [], 0, ""
        else:
            held.append(text[start:-1])
            length, last = length + len(held[-1]), text[-1]


def learnable(texts: Iterable[str], where: re.Pattern = BETWEEN_WORDS) -> Iterator[str]:
    """The same texts in blocks as `sample` gives them, without long words."""
    for text in texts:
        yield from (part.text for part in cut([TextPart("", text, True)], where, SAMPLE_BLOCK))


def sample(
    parts: Iterable[TextPart], size: int, wanted: int, where: re.Pattern = BETWEEN_WORDS
) -> Iterator[str]:
    """Texts spread evenly over a corpus of `size` bytes, of `wanted` bytes at most; all of a smaller one.

    Raises StageError when not one word is as small as `wanted`.
    """
    wanted = min(wanted, size)
    seen = taken = 0
    for part in cut(parts, where, min(SAMPLE_BLOCK, max(1, wanted // 256))):
        block = len(part.text.encode())
        seen += block
        if (taken + block) * size <= wanted * seen:
            taken += block
            yield part.text
    if not taken:
        raise StageError(f"tokenize.training_bytes={wanted} holds no block of the corpus; allow more")
