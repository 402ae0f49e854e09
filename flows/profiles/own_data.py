"""A profile for files of one's own: what they hold, and what is trained on that."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tasks.config import RowsConfig
from tasks.data.reading import RowError
from tasks.errors import StageError, UsageError
from tasks.rows.canonical import Row
from tasks.rows.files import DataFile, data_files, records_of, survey
from tasks.rows.formats import Layout, layout_of

SHOWN = 3  # rows of each file
CORPUS, COMPLETIONS, PREFERENCES = "text", "completion", "preference"
LABELLED = {  # kinds of rows that are classified
    "classification": "labelled texts",
    "multi-label": "texts with several labels",
    "tokens": "sentences with tagged words",
}
WORDS = {
    CORPUS: "text to pretrain on",
    COMPLETIONS: "rows to fine-tune on",
    PREFERENCES: "preference rows",
    **LABELLED,
}
LEAST_TESTED = 60  # rows of which a test split holds the six that a promotion needs

# A tiny GPT that two cores train in minutes, as the profile quickstart has it.
TOKENIZE_LARGE, TOKENIZE_SMALL = 2048, 512  # entries of a vocabulary
LARGE = 200_000  # bytes of text from which on the larger one is worth it
CONTEXTS = {256: 30_000, 128: 12_000, 64: 0}  # tokens, and from how many bytes of text on
ROOM = (256, 512, 1024)  # tokens; a longer row is cut, which the checks before training tell
CHARACTERS, TEMPLATE = 2, 64  # of a token at least, in a small vocabulary; tokens around a row
PRETRAIN = {"size": "quickstart", "optimizer": "muon", "steps": 300, "batch_size": 8, "eval_every": 75}
TUNE = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 3e-3,
    "muon_learning_rate": 1e-2,
}


@dataclass(frozen=True)
class OwnFile:
    """What a file holds."""

    path: Path
    kind: str
    format: str
    columns: dict[str, str]
    """What the format calls each column, and what the file does."""
    rows: int
    longest: int
    """Characters of the longest row."""
    bytes: int
    examples: list[Row]


def recognise(
    path: Path, columns: Mapping[str, str], malformed: Callable[[RowError], None] | None = None
) -> list[OwnFile]:
    """What a file, or each file of a folder, holds; `columns` is as the setting rows.columns.

    `malformed` is told of the first rows that cannot be read. Raises UsageError for what is nothing to train
    on, and for such a row when there is nobody to tell.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected files or folders of text, JSON, CSV or Parquet")
    with tempfile.TemporaryDirectory() as scratch, _folder_of(path) as folder:
        try:
            files = data_files(folder, RowsConfig(), Path(scratch))
            found = [_recognise(path, file, columns, malformed or _malformed) for file in files]
        except StageError as error:
            told = str(error)
            raise UsageError(told if path.name in told else f"{path}: {told}") from error
    if len({one.kind for one in found}) > 1:
        _reject_mixed(found)
    return found


@contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    """A folder that holds the path alone, as the stages read it."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as made:
        Path(made, path.name).symlink_to(path.resolve())
        yield Path(made)


def _recognise(
    given: Path, file: DataFile, mapped: Mapping[str, str], malformed: Callable[[RowError], None]
) -> OwnFile:
    config = RowsConfig()
    size = file.path.stat().st_size
    if file.type == "text":
        records = list(records_of(file, config, malformed))
        if not records:
            raise UsageError(f"{file.name} is empty: there is nothing to train on")
        examples = [{"text": values["text"]} for _, values in records[:SHOWN]]
        return OwnFile(given, CORPUS, CORPUS, {}, len(records), 0, size, examples)
    columns, sample = survey(file, config)
    if not sample:
        raise UsageError(f"{file.name} holds no rows: there is nothing to train on")
    layout = layout_of(file.name, columns, RowsConfig(columns=dict(mapped or file.columns)), sample)
    examples = list(islice(_rows(file, layout, config, malformed), SHOWN))
    lengths = [
        sum(len(str(values.get(column) or "")) for column in layout.columns.values())
        for _, values in records_of(file, config, lambda _: None)
    ]
    kind = CORPUS if layout.format == CORPUS else layout.kind
    return OwnFile(
        given, kind, layout.format, dict(layout.columns), len(lengths), max(lengths), size, examples
    )


def _rows(
    file: DataFile, layout: Layout, config: RowsConfig, malformed: Callable[[RowError], None]
) -> Iterator[Row]:
    for record in records_of(file, config, malformed):
        try:
            yield layout.row(record)
        except RowError as error:
            malformed(error)


def _malformed(error: RowError) -> None:
    raise error


def _reject_mixed(found: Sequence[OwnFile]) -> None:
    told = {one.kind: WORDS[one.kind] for one in found}
    raise UsageError(
        f"{found[0].path} holds files of several kinds: {', '.join(told.values())}; name those to train on"
    )


def profile_of(
    files: Sequence[OwnFile], folder: Path, name: str, columns: Mapping[str, str]
) -> dict[str, Any]:
    """The settings of a profile that trains on these files; its paths are relative to `folder`.

    Raises UsageError for rows of several kinds, each of which makes a model of its own.
    """
    kinds = {one.kind: one for one in files if one.kind != CORPUS}
    if len(kinds) > 1:
        told = "; ".join(f"{one.path} holds {WORDS[one.kind]}" for one in kinds.values())
        raise UsageError(f"{told}: each makes a model of its own. Give one of them, beside text if you like")
    kind = next(iter(kinds), None)
    texts = [one for one in files if one.kind == CORPUS]
    size = sum(one.bytes for one in texts or files)
    raw: dict[str, Any] = {"name": name, "description": description_of(files)}
    if texts:
        raw["corpus"] = _sources(texts, folder)
    if kind:
        section = "labelled" if kind in LABELLED else "instructions"
        raw[section] = _sources([one for one in files if one.kind == kind], folder)
    if kind and columns:
        raw["rows"] = {"columns": dict(columns)}
    raw["tokenize"] = {"vocab_size": TOKENIZE_LARGE if size > LARGE else TOKENIZE_SMALL}
    if texts and kind:
        raw["tokenize"]["include_rows"] = True
    context = _context([one for one in files if one.kind == kind], size)
    raw["pretrain"] = PRETRAIN | {"context": context}
    if kind in LABELLED:
        raw["classify"] = {"tune": "full", **TUNE, "max_length": context}
    elif kind:
        raw["finetune"] = {"template": "phi3", **TUNE, "max_length": context}  # few tokens around a row
        if kind == PREFERENCES:
            raw["dpo"] = {"max_length": context}
        raw["generate"] = {"max_new_tokens": 64}
    return raw


def _context(rows: Sequence[OwnFile], size: int) -> int:
    """Tokens that hold the longest row and its prompt's template; of text alone, so that blocks are left."""
    if not rows:
        return next(context for context, least in CONTEXTS.items() if size >= least)
    longest = max(one.longest for one in rows) / CHARACTERS + TEMPLATE
    return next((context for context in ROOM if context >= longest), ROOM[-1])


def _sources(files: Sequence[OwnFile], folder: Path) -> dict[str, Any]:
    paths = dict.fromkeys(os.path.relpath(one.path.resolve(), folder.resolve()) for one in files)
    return {"sources": [{"path": path} for path in paths]}


def description_of(files: Sequence[OwnFile]) -> str:
    """One line: the files, and what they are."""
    named = dict.fromkeys((one.path.name, WORDS[one.kind]) for one in files)
    return "a tiny GPT on " + ", ".join(f"{name} ({what})" for name, what in named)


def name_of(path: Path) -> str:
    """A profile's name after a file."""
    return re.sub(r"[^a-z0-9]+", "-", path.name.partition(".")[0].lower()).strip("-") or "own"


def write_profile(path: Path, raw: dict[str, Any]) -> None:
    """Write a new file. Raises UsageError where there is one, or no such folder."""
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=110)
    head = "# Written by `touchstone init`; `touchstone settings` tells what every key means.\n"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(head + text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file with --output") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
