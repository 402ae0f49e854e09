"""The files of a source as they come: which of them are data, and their bytes without compression."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tasks.errors import StageError
from tasks.machine.unzip import require_bounded

ADDED_BY_WINDOWS = ("thumbs.db", "desktop.ini")
COMPRESSED = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd")
COMPRESSIONS = {  # by the bytes that a file begins with; no UTF-8 text begins like the first three
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
}
BZIP2_BLOCK = (
    b"1AY&SY",
    b"\x17\x72\x45\x38\x50\x90",
)  # after the digit
NO_TEXT = {
    b"PK\x03\x04": "a zip archive. Name it .zip, or extract it",
    b"PAR1\x15": "a Parquet file. Name it .parquet",
    b"ARROW1\x00\x00": "an Arrow file. Name it .arrow",
    b"%PDF-": "a PDF. Extract its text first",
}

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError)


def visible_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below `folder` in the order of its path, and that path in POSIX form.

    Files and folders that are hidden (`.git`, `.DS_Store`, `._a.txt`) are left out, as is what macOS adds to
    archives (`__MACOSX`) and Windows to folders (`Thumbs.db`, `desktop.ini`).
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if not hidden and parts[-1].casefold() not in ADDED_BY_WINDOWS:
            yield path, "/".join(parts)


def require_visible(folder: Path, files: list[tuple[Path, str]], what: str) -> None:
    """Raises StageError when there are no `files`, and names the hidden ones that are not read."""
    if files:
        return
    hidden = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not hidden:
        raise StageError(f"{what}; the folder is empty.")
    raise StageError(
        f"{what}; hidden files are not read, and all are hidden: {', '.join(hidden[:10])}. Rename those "
        "that are data."
    )


def source_places(folder: Path, names: Iterable[str], setting: str) -> dict[str, tuple[str, ...]]:
    """Where each source of a download is in its folder, which has `texts.zip` unpacked as `texts`, by name.

    Raises StageError for one that is not there, which the `setting` has named.
    """
    found = {}
    for name in names:
        place = PurePosixPath(name)
        if not (folder / place).exists() and place.suffix.lower() == ".zip":
            place = place.with_suffix("")
        if not (folder / place).exists():
            raise StageError(f"{setting} names {name!r}, and no file or folder of that name was downloaded")
        found[name] = place.parts
    return found


def source_of(file: str, places: Mapping[str, tuple[str, ...]]) -> str:
    """The name of the source that a file is, or that it is below. Raises StageError where it is of none."""
    parts = PurePosixPath(file).parts
    for name, place in places.items():
        if parts[: len(place)] == place:
            return name
    raise StageError(f"{file} is of none of the sources that have weights: {', '.join(places)}")


def ending_of(name: str) -> str:
    """A file's ending in small letters, that of its compression aside: `.jsonl` of `rows.jsonl.gz`."""
    path = PurePosixPath(name)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by what it begins with, whatever it is called; None where it is not."""
    with path.open("rb") as file:
        head = file.read(10)
    kind = next((kind for begin, kind in COMPRESSIONS.items() if head.startswith(begin)), None)
    return None if kind == "bzip2" and head[4:10] not in BZIP2_BLOCK else kind


def plain_blocks(path: Path, name: str, size: int) -> Iterator[bytes]:
    """The bytes of a file in blocks of `size` at most, decompressed where it is compressed.

    Raises StageError for a file that is damaged, that unpacks to more than a zip archive may, or that begins
    as no text does.
    """
    kind, packed, total = compression_of(path), path.stat().st_size, 0
    try:
        with _opened(path, kind) as file:
            while block := file.read(size):
                if not total and (found := next((each for each in NO_TEXT if block.startswith(each)), None)):
                    raise StageError(f"{name} is not text but {NO_TEXT[found]}.")
                total += len(block)
                if kind:
                    require_bounded(total, packed, name)
                yield block
    except OSError as error:
        if kind is None or error.errno is not None:  # the disk's, and not what the library says of the bytes
            raise
        raise _damaged(name, kind, error) from error
    except _DAMAGED as error:
        raise _damaged(name, kind, error) from error


def _opened(path: Path, kind: str | None) -> AbstractContextManager[BinaryIO]:
    if kind == "zstd":
        from pyarrow import CompressedInputStream, OSFile

        return CompressedInputStream(OSFile(str(path)), "zstd")
    openers = {None: Path.open, "gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers[kind](path, "rb")


def _damaged(name: str, kind: str | None, error: Exception) -> StageError:
    return StageError(
        f"{name} is damaged: it cannot be decompressed as {kind} ({error}). Get an intact copy."
    )
