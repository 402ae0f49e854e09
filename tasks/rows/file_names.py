"""What the names of files say: which split a file is, and which files are about data and no data."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.errors import StageError
from tasks.machine.json_files import read_json

DESCRIPTION = "dataset_info.json"
METADATA = (DESCRIPTION, "dataset_infos.json", "dataset_dict.json")  # of `datasets`, and of LLaMA-Factory
STATE = "state.json"  # beside the others, of `save_to_disk`
COLUMNS = {  # LLaMA-Factory's names for what a column holds, and ours
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "messages": "messages",
    "system": "system",
    "history": "history",
    "chosen": "chosen",
    "rejected": "rejected",
}

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

_WORD = re.compile(r"[a-z]+")
_PAPERS = re.compile(r"(readme|licen[cs]e|copying|notice|citation|changelog|contributing)([._-].*)?")


def split_named(name: str) -> str | None:
    """The split that a path names, its last part that names any: `train-00000.parquet`, `test/data.arrow`.

    None where none of its parts does, or that part names two.
    """
    for part in reversed(PurePosixPath(name).parts):
        named = {SPLIT_NAMES[word] for word in _WORD.findall(part.casefold()) if word in SPLIT_NAMES}
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def is_about_data(name: str, names: Iterable[str]) -> bool:
    """Whether the file of this path, one of `names`, is a README or tells of the data beside it."""
    return is_metadata(name, names) or bool(_PAPERS.fullmatch(PurePosixPath(name).name.casefold()))


def is_metadata(name: str, names: Iterable[str]) -> bool:
    """Whether a tool wrote the file of this path, one of `names`, to tell of the data beside it."""
    path = PurePosixPath(name)
    if path.name == STATE:
        return str(path.with_name(DESCRIPTION)) in names
    return path.name in METADATA


def columns_described(files: Iterable[tuple[Path, str]]) -> dict[str, dict[str, str]]:
    """What LLaMA-Factory's `dataset_info.json` says of the columns of files beside it, by their paths."""
    found = {}
    for path, name in files:
        if PurePosixPath(name).name != DESCRIPTION:
            continue
        try:
            described = read_json(path)
        except ValueError as error:
            raise StageError(f"{name} is not valid JSON: {error}. Correct it, or take it away.") from error
        for entry in described.values() if isinstance(described, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
                found[str(PurePosixPath(name).parent / entry["file_name"])] = _renamed(entry.get("columns"))
    return found


def _renamed(columns: Any) -> dict[str, str]:
    pairs = columns.items() if isinstance(columns, dict) else ()
    return {COLUMNS[known]: str(column) for known, column in pairs if known in COLUMNS}
