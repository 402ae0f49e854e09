"""Rows with their responses, as the generate stage and the responses stage write them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.machine.json_files import Json, read_lines, write_lines

RESPONSES = "responses.jsonl"


def write_responses(folder: Path, responses: Iterable[Mapping[str, Any]]) -> None:
    """A row with its response a line."""
    write_lines(folder / RESPONSES, responses)


def has_responses(folder: Path) -> bool:
    """Whether an output is of rows with responses: a rows stage has splits instead."""
    return (folder / RESPONSES).is_file()


def read_responses(folder: Path) -> list[Json]:
    """In their order."""
    return read_lines(folder / RESPONSES)
