"""Which rows ask the same or nearly, or are of one source, kept beside the splits: it is found out once.

`groups.json` names the rules, the SHA-256 of every file of rows that it was made of, and the ids of the rows
of each group. It says nothing of rows that were written otherwise since, nor once a rule is another.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.data.containment import RULE as CONTAINMENT
from tasks.data.duplicates import RULE as NEAR_DUPLICATES
from tasks.data.rewordings import RULE as REWORDINGS
from tasks.machine.digests import sha256_of
from tasks.machine.json_files import read_json, write_json
from tasks.rows.canonical import LEFT_OUT, SPLITS, learned_rows, prompt_groups, text_of
from tasks.rows.sources import RULE as SOURCES

GROUPS = "groups.json"


class Alike(NamedTuple):
    """Ids of rows, a list for each group of two or more."""

    prompts: Sequence[Sequence[int]] = ()
    """Rows that ask the same, exactly, nearly or in other words."""
    sources: Sequence[Sequence[int]] = ()
    """Rows of one conversation, passage or whatever `rows.group_by` names."""


def write_groups(folder: Path, alike: Alike) -> None:
    """Keep the ids of the rows of each group, once all files of rows are written."""
    write_json(folder / GROUPS, {"rules": _rules(), "files": _digests(folder), **alike._asdict()})


def load_groups(folder: Path) -> Alike | None:
    """The groups of the rows in `folder`, by id; None where none are known of the files as they are now."""
    path = folder / GROUPS
    if not path.exists():
        return None
    found = read_json(path)
    if found["rules"] != _rules() or found["files"] != _digests(folder):
        return None
    return Alike(found["prompts"], found["sources"])


def distinct_texts_of(folder: Path) -> list[str]:
    """As `texts_of`, but of rows that are alike the first alone: some would be learned, others held out."""
    rows, known = learned_rows(folder), load_groups(folder)
    if known is None:
        groups = prompt_groups(rows)
    else:
        first_of = {row: ids[0] for ids in known.prompts for row in ids}
        groups = [first_of.get(row["id"], row["id"]) for row in rows]
    firsts = dict(reversed(list(zip(groups, rows, strict=True))))
    return [text_of(row) for group, row in zip(groups, rows, strict=True) if firsts[group] is row]


def _rules() -> list[int]:
    return [NEAR_DUPLICATES, REWORDINGS, CONTAINMENT, SOURCES]


def _digests(folder: Path) -> dict[str, str]:
    names = [f"{name}.jsonl" for name in (*SPLITS, LEFT_OUT)]
    return {name: sha256_of(folder / name) for name in names if (folder / name).exists()}
