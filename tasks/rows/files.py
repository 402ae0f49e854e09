"""The files of a folder, those inside its zip archives too, as records."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from tasks.config import RowsConfig
from tasks.data.reading import OnMalformed, Record, RowError, json_lines, json_list, lists_in, read_text
from tasks.data.source_files import COMPRESSED, ending_of, require_visible, visible_files
from tasks.errors import StageError
from tasks.machine.unzip import unzip
from tasks.rows.conll import read_conll
from tasks.rows.file_names import columns_described, is_about_data, split_named
from tasks.rows.nested import plain_records
from tasks.rows.tables import null_for_nan, read_arrow, read_delimited, read_parquet

ENDINGS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".conll": "conll",
    ".conllu": "conll",
    ".txt": "text",
    ".md": "text",
}
ARCHIVE = ".zip"
DELIMITERS = {"csv": ",", "tsv": "\t"}
OTHER_ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")
SAMPLE = 100  # records

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_PARTITION = re.compile(r"([^=]+)=(.*)")  # of a path of Parquet files, as Hive names folders
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class DataFile(NamedTuple):
    """A file to be read. People know it by its `name`: its path in the folder, and in an archive there."""

    path: Path
    name: str
    type: str
    alone: bool
    """Whether no other file is read, or none of its split."""
    field: str = ""
    """The key of a JSON document that its rows are under."""
    split: str | None = None
    """The split that it is, where its owner split the data and those splits are kept."""
    columns: Mapping[str, str] = {}
    """What a `dataset_info.json` beside it says of its columns, as `rows.columns` does."""


class Survey(NamedTuple):
    """What a file's format is told from: the columns of all its records, and the first records."""

    columns: list[str]
    sample: list[dict[str, Any]]


def data_files(
    folder: Path, config: RowsConfig, scratch: Path, say: Callable[[str], None] = lambda _: None
) -> list[DataFile]:
    """The files that `config` asks for, in the order of their names; archives are extracted to `scratch`.

    Hidden files are none of the data, nor is what macOS adds to archives, nor, beside data, what is about
    it: `say` is told of such. Raises StageError when there is no such file, when what one is cannot be told,
    when the splits that are asked for are not there, and for an archive that is not to be trusted.
    """
    found = list(_files(folder, scratch))
    require_visible(folder, found, "there is no file to read rows from")
    wanted = [(path, name) for path, name in found if _matches(name, config.files)]
    if not wanted:
        names = ", ".join(name for _, name in found[:10])
        raise StageError(f"no file matches rows.files={config.files}; there are {names}.")
    names = [name for _, name in found]
    data = [(path, name) for path, name in wanted if not is_about_data(name, names)] or wanted
    if passed_over := sorted({path.name for path, name in wanted if (path, name) not in data}):
        say(f"not read as rows, being about the data: {', '.join(passed_over[:10])}")
    described = {} if config.columns else columns_described(found)
    files = [
        DataFile(path, name, _type_of(name, config.file_type), len(data) == 1, config.field)
        for path, name in data
    ]
    files = [
        part._replace(columns=described.get(file.name, {}))
        for file in files
        for part in _parts_of(file, config)
    ]
    types = {file.type for file in files}
    if config.quoting != "auto" and not types & set(DELIMITERS):
        raise StageError("rows.quoting is for CSV and TSV, and no such file was found.")
    if config.header and not types & {*DELIMITERS, "conll"}:
        raise StageError("rows.header is for CSV, TSV and CoNLL, and no such file was found.")
    if config.field and "json" not in types:
        raise StageError("rows.field is for JSON documents (.json), and no such file was found.")
    return _with_splits(files, config, say)


def _files(folder: Path, scratch: Path) -> Iterator[tuple[Path, str]]:
    for number, (path, name) in enumerate(visible_files(folder)):
        if path.suffix.lower() != ARCHIVE:
            yield path, name
            continue
        target = scratch / str(number)
        unzip(path, target, name)
        for member, inside in visible_files(target):
            yield member, f"{name}/{inside}"


def _parts_of(file: DataFile, config: RowsConfig) -> Iterable[DataFile]:
    """The file or, of a JSON document with the rows of each split under a key, one for each of those."""
    if file.type != "json" or file.field:
        return [file]
    keys = lists_in(file.path, file.name, encoding=config.encoding)
    if len(keys) < 2 or not all(map(split_named, keys)):
        return [file]
    return [file._replace(name=f"{file.name}/{key}", field=key) for key in keys]


def _with_splits(files: list[DataFile], config: RowsConfig, say: Callable[[str], None]) -> list[DataFile]:
    """The files with the splits that they are, if those are to be kept."""
    if config.splits == "drawn":
        return files
    named = [split_named(file.name) for file in files]
    if None in named or not {"train", "test"} <= set(named):
        if config.splits == "own":
            pairs = zip(files, named, strict=True)
            told = ", ".join(f"{file.name} ({split or 'none'})" for file, split in islice(pairs, 10))
            raise StageError(
                "rows.splits=own needs files of train and test, maybe of validation, and no others, named so "
                f"or in folders of these names; found {told}. Name those to be read with rows.files, or let "
                "the splits be drawn with rows.splits=drawn."
            )
        return files
    say("the files are splits already, which are kept; rows.splits=drawn draws others")
    return [
        file._replace(split=split, alone=named.count(split) == 1)
        for file, split in zip(files, named, strict=True)
    ]


def _matches(name: str, pattern: str) -> bool:
    try:
        return PurePosixPath(name).match(pattern.removeprefix("**/"))
    except ValueError as error:
        raise StageError(f"rows.files={pattern} is no pattern of file names ({error}); try *.csv") from error


def _type_of(name: str, asked: str) -> str:
    ending = ending_of(name)
    if ending == ARCHIVE:
        raise StageError(
            f"{name} is an archive within an archive, which is not opened. Extract it by hand, or name the "
            "files to be read with rows.files."
        )
    if ending in OTHER_ARCHIVES:
        raise StageError(
            f"{name} is an archive of a kind ({ending}) that is not opened. Extract it by hand and name the "
            "folder, or make it a zip archive."
        )
    if asked != "auto":
        return asked
    if ending not in ENDINGS:
        raise StageError(
            f"{name}: its ending ({ending or 'none'}) does not say what kind of file it is; expected "
            f"{', '.join(ENDINGS)} (also compressed: {', '.join(COMPRESSED)}) or {ARCHIVE}. Set "
            "rows.file_type, or leave it out with rows.files."
        )
    return ENDINGS[ending]


def records_of(file: DataFile, config: RowsConfig, malformed: OnMalformed) -> Iterator[Record]:
    """The records of one file. A text file is one record or, when no other is read, one a paragraph.

    Each question of SQuAD's nested JSON is a record. Rows that are no records are `malformed`; raises
    StageError for a file that cannot be read as a whole.
    """
    return plain_records(_records_as_they_are(file, config, malformed), malformed)


def _records_as_they_are(file: DataFile, config: RowsConfig, malformed: OnMalformed) -> Iterator[Record]:
    path, name, encoding = file.path, file.name, config.encoding
    if file.type == "json":
        return _without_nan(json_list(path, name, malformed, encoding=encoding, field=file.field))
    if file.type == "jsonl":
        return _without_nan(json_lines(path, name, malformed, encoding=encoding))
    if file.type == "parquet":
        return _with_partitions(read_parquet(path, name), name)
    if file.type == "arrow":
        return read_arrow(path, name)
    if file.type == "text":
        if file.alone:
            return _paragraphs(path, name, encoding)
        return _document(path, name, encoding, malformed)
    if file.type == "conll":
        return read_conll(path, name, config.header, malformed, encoding=encoding)
    return read_delimited(
        path, name, DELIMITERS[file.type], config.quoting, config.header, malformed, encoding=encoding
    )


def survey(file: DataFile, config: RowsConfig) -> Survey:
    """Every column of a file, whichever record it first appears in: many tools leave out what is empty.

    The file is read once more for that, unless it is a table, all of whose rows have all columns.
    """
    records = records_of(file, config, lambda _: None)
    if file.type not in ("json", "jsonl"):
        records = islice(records, SAMPLE)
    columns, sample = {}, []
    for _, record in records:
        columns |= dict.fromkeys(record)
        if len(sample) < SAMPLE:
            sample.append(record)
    return Survey(list(columns), sample)


def _without_nan(records: Iterable[Record]) -> Iterator[Record]:
    for where, record in records:
        yield where, {name: null_for_nan(value) for name, value in record.items()}


def _with_partitions(records: Iterable[Record], name: str) -> Iterator[Record]:
    """Records with what the folders that they are in say of them: `label=ham/part-0.parquet`."""
    matches = filter(None, map(_PARTITION.fullmatch, PurePosixPath(name).parent.parts))
    told = {match[1]: None if match[2] == _NULL_PARTITION else unquote(match[2]) for match in matches}
    for where, record in records:
        yield where, told | record


def _document(path: Path, name: str, encoding: str, malformed: OnMalformed) -> Iterator[Record]:
    try:
        yield f"{name}, row 1", {"text": read_text(path, name, encoding=encoding)}
    except StageError as error:  # empty, or in another encoding
        malformed(RowError(f"{name}, row 1", str(error)))


def _paragraphs(path: Path, name: str, encoding: str) -> Iterator[Record]:
    paragraphs = _BLANK_LINES.split(read_text(path, name, encoding=encoding))
    for number, text in enumerate((text for text in paragraphs if text.strip()), 1):
        yield f"{name}, row {number}", {"text": text.strip("\n")}
