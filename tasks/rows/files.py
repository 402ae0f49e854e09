"""The files of a folder, those inside its zip archives too, as records."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks.config import RowsConfig
from tasks.errors import StageError
from tasks.reading import OnMalformed, Record, RowError, json_lines, json_list, read_text
from tasks.rows.tables import read_delimited, read_parquet
from tasks.unzip import unzip

ENDINGS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
ARCHIVE = ".zip"
DELIMITERS = {"csv": ",", "tsv": "\t"}

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


class DataFile(NamedTuple):
    """A file to be read. People know it by its `name`: its path in the folder, and in an archive there."""

    path: Path
    name: str
    type: str
    alone: bool
    """Whether no other file is read."""


def data_files(folder: Path, config: RowsConfig, scratch: Path) -> list[DataFile]:
    """The files that `config` asks for, in the order of their names; archives are extracted to `scratch`.

    Hidden files are none of the data, nor is what macOS adds to archives. Raises StageError when there is no
    such file, when what one is cannot be told, and for an archive that is not to be trusted.
    """
    found = list(_files(folder, scratch))
    if not found:
        raise StageError("there is no file to read rows from; the folder is empty.")
    wanted = [(path, name) for path, name in found if _matches(name, config.files)]
    if not wanted:
        names = ", ".join(name for _, name in found[:10])
        raise StageError(f"no file matches rows.files={config.files}; there are {names}.")
    files = [
        DataFile(path, name, _type_of(name, config.file_type), alone=len(wanted) == 1)
        for path, name in wanted
    ]
    if (config.header or config.quoting != "auto") and not {file.type for file in files} & set(DELIMITERS):
        raise StageError("rows.header and rows.quoting are for CSV and TSV, and no such file was found.")
    return files


def _files(folder: Path, scratch: Path) -> Iterator[tuple[Path, str]]:
    for number, (path, name) in enumerate(_visible(folder)):
        if path.suffix.lower() != ARCHIVE:
            yield path, name
            continue
        target = scratch / str(number)
        unzip(path, target, name)
        for member, inside in _visible(target):
            yield member, f"{name}/{inside}"


def _visible(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield path, "/".join(parts)


def _matches(name: str, pattern: str) -> bool:
    try:
        return PurePosixPath(name).match(pattern.removeprefix("**/"))
    except ValueError as error:
        raise StageError(f"rows.files={pattern} is no pattern of file names ({error}); try *.csv") from error


def _type_of(name: str, asked: str) -> str:
    ending = PurePosixPath(name).suffix.lower()
    if ending == ARCHIVE:
        raise StageError(
            f"{name} is an archive within an archive, which is not opened. Extract it by hand, or name the "
            "files to be read with rows.files."
        )
    if asked != "auto":
        return asked
    if ending not in ENDINGS:
        raise StageError(
            f"{name}: its ending ({ending or 'none'}) does not say what kind of file it is; expected "
            f"{', '.join(ENDINGS)} or {ARCHIVE}. Set rows.file_type, or leave it out with rows.files."
        )
    return ENDINGS[ending]


def records_of(file: DataFile, config: RowsConfig, malformed: OnMalformed) -> Iterator[Record]:
    """The records of one file. A text file is one record or, when no other is read, one a paragraph.

    Rows that are no records are `malformed`; raises StageError for a file that cannot be read as a whole.
    """
    path, name = file.path, file.name
    if file.type == "json":
        return json_list(path, name, malformed)
    if file.type == "jsonl":
        return json_lines(path, name, malformed)
    if file.type == "parquet":
        return read_parquet(path, name)
    if file.type == "text":
        return _paragraphs(path, name) if file.alone else _document(path, name, malformed)
    by_type = "quotes" if file.type == "csv" else "none"
    quoting = by_type if config.quoting == "auto" else config.quoting
    return read_delimited(path, name, DELIMITERS[file.type], quoting, config.header, malformed)


def _document(path: Path, name: str, malformed: OnMalformed) -> Iterator[Record]:
    try:
        yield f"{name}, row 1", {"text": read_text(path, name)}
    except StageError as error:  # empty, or not UTF-8
        malformed(RowError(f"{name}, row 1", str(error)))


def _paragraphs(path: Path, name: str) -> Iterator[Record]:
    paragraphs = _BLANK_LINES.split(read_text(path, name))
    for number, text in enumerate((text for text in paragraphs if text.strip()), 1):
        yield f"{name}, row {number}", {"text": text.strip("\n")}
