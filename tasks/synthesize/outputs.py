"""What a synthesis leaves: `synthesis.json`, its rows in `rows/`, and what was set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile

SET_ASIDE = "set_aside.jsonl"


@dataclass(frozen=True, kw_only=True)
class Synthesis(JsonFile):
    """What was asked of whom, and what became of it."""

    FILE: ClassVar[str] = "synthesis.json"

    kind: str
    writers: Sequence[Json]
    """Each with its name, digest and version, the temperature, and the tokens read and written."""
    prompt: str
    """Its name."""
    prompt_digest: str
    seed: int
    sources: int
    """Passages, or given rows."""
    documents: int
    """Of a corpus; 0 where rows were given."""
    asked: int
    kept: int
    language: str | None
    filters: Sequence[Json]
    """In their order: `name`, what it says of a row (`title`), how many it `set_aside`, and `left`."""
    reasons: Mapping[str, Sequence[Json]]
    """By filter the most frequent reasons that are told for several rows, each with its `count`."""
    samples: Sequence[Json]
    """Rows that are kept, spread over all."""
    rejected: Sequence[Json]
    """Rows that were set aside, some of each filter."""
    judge: Json | None = None
    """That which decided on rows: its name, digest, and what its audit said."""
