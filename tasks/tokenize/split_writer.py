"""The token files of a split as they are written, and what is counted of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from tasks.data.token_files import END_OFFSET, ends_path, token_path
from tasks.machine.json_files import Json


@dataclass
class StreamCounts:
    """What is known of a stream of tokens: that of a split, or of one source in it."""

    tokens: int = 0
    bytes: int = 0
    documents: int = 0
    unknown: int = 0
    unpredicted: dict[str, int] = field(default_factory=dict)
    """Bytes of text whose token nothing predicts: the first of the stream, or of each document apart."""

    def add(self, tokens: int, size: int, ends: bool, unknown: int) -> None:
        self.tokens += tokens + ends
        self.bytes += size
        self.documents += ends
        self.unknown += unknown

    def begin(self, first: int) -> None:
        """A document begins, with a token of so many bytes."""
        self.unpredicted.setdefault("joined", first)
        self.unpredicted["apart"] = self.unpredicted.get("apart", 0) + first

    @property
    def unknown_share(self) -> float:
        """Of the tokens of texts."""
        return self.unknown / max(1, self.tokens - self.documents)

    def facts(self) -> Json:
        """As `tokens.json` has them."""
        return {
            "tokens": self.tokens,
            "bytes": self.bytes,
            "documents": self.documents,
            "unpredicted_bytes": self.unpredicted,
        }


class SplitWriter:
    """Appends a split's tokens to its file, and the offset behind each end token to the file beside it."""

    def __init__(
        self, folder: Path, split: str, dtype: str, end_token: int, unknown_token: int | None = None
    ) -> None:
        self._files = [path(folder, split).open("wb") for path in (token_path, ends_path)]
        self._dtype = np.dtype(dtype)
        self._end_token = end_token
        self._unknown_token = unknown_token
        self.whole = StreamCounts()
        self.sources: dict[str, StreamCounts] = {}
        """By the names of the sources, as far as documents have one, in the order of the stream."""
        self.begins = True
        """Whether what is added next is the beginning of a document."""

    def add(
        self, ids: Sequence[int], size: int, ends: bool, first: int = 0, source: str | None = None
    ) -> None:
        """`ids` of `size` bytes of text, `first` of them the first token's; `ends`: the end token follows."""
        tokens, offsets = self._files
        streams = [self.whole]
        if source is not None:
            streams.append(self.sources.setdefault(source, StreamCounts()))
        for stream in streams:
            if self.begins and (len(ids) or ends):
                stream.begin(first)
            stream.add(len(ids), size, ends, ids.count(self._unknown_token))
        tokens.write(np.array([*ids, self._end_token] if ends else ids, dtype=self._dtype).tobytes())
        if len(ids) or ends:
            self.begins = ends
        if ends:
            offsets.write(np.array(self.whole.tokens, dtype=END_OFFSET).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
