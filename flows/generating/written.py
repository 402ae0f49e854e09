"""Responses as a file of the user's: JSON Lines or CSV, there whole or not at all."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tasks.errors import StageError, UsageError
from tasks.machine.json_files import Json, write_lines

SUFFIXES = (".jsonl", ".csv")


def require_place(path: Path, *, force: bool) -> None:
    """Raise UsageError for a file that cannot be written there, or is there and may not be overwritten."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {path}: expected a name that ends with {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise UsageError(f"-o {path}: it is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"-o {path}: nothing can be written into {path.parent}")
    if path.exists() and not force:
        raise UsageError(f"-o {path}: it is there already; name another file, or overwrite it with --force")


def write_responses(path: Path, responses: Sequence[Json], *, force: bool) -> None:
    """Write beside the file, then rename. Raises UsageError when another has written it meanwhile."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix.lower() == ".csv":
            _write_csv(part, responses)
        else:
            write_lines(part, responses)
        require_place(path, force=force)
        part.replace(path)
    except OSError as error:
        raise StageError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(path: Path, responses: Sequence[Json]) -> None:
    """A column for each field of any row; what is no text or number is JSON, what is not there is empty."""
    columns = list(dict.fromkeys(name for response in responses for name in response))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for response in responses:
            writer.writerow({name: _cell(value) for name, value in response.items()})


def _cell(value: object) -> object:
    return (
        json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, list | dict | bool)
        else value
    )
