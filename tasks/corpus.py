"""The corpus as a stream: measured, split and sampled without ever being in memory.

A document arrives in pieces, here as (number of the document, text). Two passes do: the first measures,
the second encodes what the measures assign to each split.
"""

import hashlib
import math
import random
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.config import TokenizeConfig
from tasks.errors import StageError
from tasks.reading import JSON_LINES, read_records, text_field, text_pieces
from tasks.rows.file_names import is_metadata
from tasks.rows.tables import read_arrow, read_parquet
from tasks.source_files import ending_of, require_visible, visible_files

Pieces = Iterable[tuple[int, str]]
"""Texts with the number of their document, from 0; those of a document follow each other."""

TABLES = {".parquet": read_parquet, ".arrow": read_arrow}
PROGRESS_EVERY = 2**24  # bytes
SAMPLE_BLOCK = 2**14  # characters; the tokenizers library reads 256 of them at a time

# Where a text may be cut without changing its pre-tokens under GPT-2's pattern,
#   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
# None of its matches holds whitespace behind a character that is none, nor a letter before a digit or a mark,
# nor a digit before a mark. Only a run of whitespace looks ahead, at the character behind the run, and no cut
# is between those two. Letters and marks are spelled out, because Python and the tokenizers library may know
# different versions of Unicode.
_LETTERS = "A-Za-zぁ-ゖァ-ヺ一-龥가-힣"
_MARKS = r"!-/:-@\[-`{-~、。，！？；：「」『』（）"
BETWEEN_WORDS = re.compile(rf"(?<=\S)[ \t\n]|(?<=[{_LETTERS}])[0-9]|(?<=[0-9{_LETTERS}])[{_MARKS}]")
ANYWHERE = re.compile(r"[\s\S]")
NOWHERE = re.compile(r"(?!)")


class Part(NamedTuple):
    """Some text of a document of a split; `ends` with the document's last."""

    split: str
    text: str
    ends: bool


class Measures(NamedTuple):
    """`lengths` (documents,) in characters, and the bytes of the whole text in UTF-8.

    `kinds` (documents,) numbers the texts: equal ones have one number.
    """

    lengths: np.ndarray
    bytes: int
    kinds: np.ndarray


def read_pieces(corpus: Path, *, encoding: str = "", field: str = "") -> Iterator[tuple[int, str]]:
    """Documents below a folder, in the order of their paths: a text file, or a row's `text`.

    A text file comes in pieces; a row in one. Hidden files are none of the corpus, compressed ones are
    decompressed; `encoding` and `field` are as in `tasks.reading`. Raises StageError for a corpus that is
    empty or malformed.
    """
    for number, document in enumerate(_documents(corpus, encoding, field)):
        for text in document:
            yield number, text


def _documents(corpus: Path, encoding: str, field: str) -> Iterator[Iterable[str]]:
    files = list(visible_files(corpus))
    require_visible(corpus, files, "the corpus holds no file")
    names = {name for _, name in files}
    for path, name in files:
        ending = ending_of(name)
        if is_metadata(name, names):
            continue
        if ending in (".txt", ".md", ""):
            yield text_pieces(path, name, encoding=encoding)
            continue
        if ending in (".json", *JSON_LINES):
            records = read_records(path, name, encoding=encoding, field=field)
        elif ending in TABLES:
            records = TABLES[ending](path, name)
        else:
            raise StageError(
                f"{name}: a corpus is .txt, .md, .json or .jsonl, also compressed (.gz, .bz2, .xz, .zst), or "
                f"{' or '.join(TABLES)}, found {ending}"
            )
        for record in records:
            yield [text_field(record, "text", "completion")]


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


def training_lengths(measures: Measures, config: TokenizeConfig) -> np.ndarray:
    """How many characters of each document (documents,) are trained on; what follows them is validation.

    Validation gets `config.validation` of the characters. Of many documents whole ones are held out, drawn
    by seed, equal ones together; of fewer than ten, or when none is as small as that, the end of their text
    is.
    """
    lengths = measures.lengths
    total = int(lengths.sum())
    wanted = math.floor(total * config.validation)
    at_the_end = np.clip(total - wanted - (np.cumsum(lengths) - lengths), 0, lengths)
    if len(lengths) < 10:
        return at_the_end
    of_kind = np.zeros(measures.kinds.max() + 1, dtype=np.int64)
    np.add.at(of_kind, measures.kinds, lengths)
    _, order = np.unique(measures.kinds, return_index=True)
    order = np.sort(order).tolist()  # the first document of each kind, as they come in the corpus
    random.Random(config.seed).shuffle(order)
    held_out = np.zeros(len(of_kind), dtype=bool)
    for kind in measures.kinds[order].tolist():
        if (length := int(of_kind[kind])) <= wanted:
            held_out[kind] = True
            wanted -= length
    if wanted and not held_out.any():
        return at_the_end
    return np.where(held_out[measures.kinds], 0, lengths)


def split_parts(pieces: Pieces, lengths: np.ndarray, training: np.ndarray) -> Iterator[Part]:
    """Assign every character to its split; what a document gives to a split is a document there."""
    current, at = -1, 0
    for number, text in pieces:
        if number != current:
            current, at, kept, length = number, 0, int(training[number]), int(lengths[number])
        for split, start, stop in (("train", 0, kept), ("validation", kept, length)):
            if part := text[max(start - at, 0) : max(stop - at, 0)]:
                yield Part(split, part, at + len(text) >= stop)
        at += len(text)


def cut(parts: Iterable[Part], where: re.Pattern, size: int) -> Iterator[Part]:
    """The same text in parts of `size` characters or, where `where` matches later, a little more.

    Where it does not match a document stays whole. How the text arrives does not matter to the result.
    """
    held: list[str] = []
    length, last = 0, ""  # of what is held, but for the last character: it decides about a cut after it
    for split, text, ends in parts:
        text, start = last + text, 0
        while match := where.search(text, start + max(1, size - length)):
            yield Part(split, "".join([*held, text[start : match.start()]]), False)
            held, length, start = [], 0, match.start()
        if ends:
            yield Part(split, "".join([*held, text[start:]]), True)
            held, length, last = [], 0, ""
        else:
            held.append(text[start:-1])
            length, last = length + len(held[-1]), text[-1]


def sample(parts: Iterable[Part], size: int, wanted: int) -> Iterator[str]:
    """Texts spread evenly over a corpus of `size` bytes, of `wanted` bytes at most; all of a smaller one.

    Raises StageError when not one word is as small as `wanted`.
    """
    wanted = min(wanted, size)
    seen = taken = 0
    for part in cut(parts, BETWEEN_WORDS, min(SAMPLE_BLOCK, max(1, wanted // 256))):
        block = len(part.text.encode())
        seen += block
        if (taken + block) * size <= wanted * seen:
            taken += block
            yield part.text
    if not taken:
        raise StageError(f"tokenize.training_bytes={wanted} holds no block of the corpus; allow more")
