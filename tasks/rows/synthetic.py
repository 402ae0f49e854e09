"""Rows that a language model made: how a file says so, and what that means for a split.

Such a row has a `synthetic` column, an object that says what it was made from. No model is tested on what a
model made unless someone asks for that, and none is trained on a rewording of what it is tested on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.duplicates import words_digest, words_of
from tasks.rows.canonical import Row

MADE, ROWS = "rows", "rows.jsonl"  # the folder of a synthesis that holds its rows, and the file there
SYNTHETIC = "synthetic"
SOURCE = "source"
KIND, OF = "kind", "of"


def lineage_in(values: Mapping[str, Any]) -> Row:
    """What a record says of how it was made, and its source; nothing of a row that a person wrote."""
    lineage = values.get(SYNTHETIC)
    if not (isinstance(lineage, dict) and KIND in lineage):
        return {}
    source = values.get(SOURCE)
    return {SYNTHETIC: lineage} | ({SOURCE: source} if isinstance(source, str) and source else {})


def asked_digest(instruction: str, input_: str) -> str:
    """What a row names that was made of another: the digest of that one's prompt."""
    return words_digest((*words_of(instruction), "", *words_of(input_))).hex()


def is_synthetic(row: Row) -> bool:
    return SYNTHETIC in row


def linked_to_originals(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of a row and one that was made of it, by their places."""
    made = [(place, row[SYNTHETIC][OF]) for place, row in enumerate(rows) if OF in row.get(SYNTHETIC, {})]
    if not made:
        return []
    wanted = {of for _, of in made}
    originals: dict[str, int] = {}
    for place, row in enumerate(rows):
        if is_synthetic(row) or "instruction" not in row:
            continue
        digest = asked_digest(row["instruction"], row["input"])
        if digest in wanted:
            originals.setdefault(digest, place)
    return [(originals[of], place) for place, of in made if of in originals]
