"""Which rows ask the same or nearly, kept beside the splits, so that it is found out once a split.

`groups.json` names the rule, the SHA-256 of every file of rows that it was made of, and the ids of the rows
of each group. It says nothing of rows that were written otherwise since, nor once the rule is another.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.digests import sha256_of
from tasks.duplicates import RULE
from tasks.json_files import read_json, write_json
from tasks.rows.canonical import LEFT_OUT, SPLITS

GROUPS = "groups.json"


def write_groups(folder: Path, groups: Iterable[Sequence[int]]) -> None:
    """Keep the ids of the rows of each group, once all files of rows are written."""
    write_json(folder / GROUPS, {"rule": RULE, "files": _digests(folder), "groups": list(groups)})


def load_groups(folder: Path) -> list[list[int]] | None:
    """The groups of the rows in `folder`, by id; None where none are known of the files as they are now."""
    path = folder / GROUPS
    if not path.exists():
        return None
    found = read_json(path)
    if found["rule"] != RULE or found["files"] != _digests(folder):
        return None
    return found["groups"]


def _digests(folder: Path) -> dict[str, str]:
    names = [f"{name}.jsonl" for name in (*SPLITS, LEFT_OUT)]
    return {name: sha256_of(folder / name) for name in names if (folder / name).exists()}
