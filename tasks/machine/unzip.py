"""Extracting an archive that nobody vouches for: everything is checked before the first byte is written."""

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tasks.errors import StageError
from tasks.machine.disk import require_space, writing

MAX_BYTES = 64 * 2**30
MAX_RATIO = 1000  # of bytes to the archive's bytes; deflate itself cannot exceed 1032
RATIO_MATTERS_FROM = 100_000_000  # bytes; below it a high ratio harms nobody
CHUNK = 2**20  # bytes
LONGEST_NAME = 255  # bytes, of a file or folder, on every file system in use
LONGEST_PATH = 4096  # bytes on Linux, with the folder that it is in and a byte at the end

_ENCRYPTED = 0x1 | 0x40
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


def unzip(archive: Path, folder: Path, name: str) -> None:
    """Extract `archive`, which people know as `name`, into `folder`, of which nothing older is kept.

    Raises StageError, and leaves no folder, when the archive is damaged or empty, when an entry is
    encrypted, named twice, no plain file or folder, both a file and the folder of another, named longer than
    a file can be, or would lie outside of `folder`, when two entries are one file on this disk, when it
    unpacks to more than `MAX_BYTES` or `MAX_RATIO`, or when the disk has no room for it.
    """
    try:
        with writing(name, folder.parent), zipfile.ZipFile(archive) as opened:
            entries = _checked_entries(opened, folder, name)
            total = sum(entry.file_size for entry in entries.values())
            require_bounded(total, archive.stat().st_size, name)
            require_space(folder.parent, total, name)
            shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left
            folder.mkdir()
            for path, entry in entries.items():
                _extract(opened, entry, folder / path, name)
    except _DAMAGED as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StageError(
            f"{name} is not a zip archive that can be read: {error}. Get an intact copy, or set unzip: false."
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def require_bounded(total: int, packed: int, name: str) -> None:
    """Raises StageError when `packed` bytes, called `name`, become more than ones that are to be trusted."""
    if total > MAX_BYTES:
        raise StageError(
            f"{name} was not extracted: it unpacks to {total} bytes, and at most {MAX_BYTES} are accepted. "
            "Extract it by hand and name the folder as a path."
        )
    if total > RATIO_MATTERS_FROM and total > MAX_RATIO * packed:
        raise StageError(
            f"{name} was not extracted: {packed} bytes would unpack to {total}, more than {MAX_RATIO} times "
            "as many, as in an archive made to fill a disk. Extract it by hand and name the folder as a path."
        )


def _checked_entries(
    opened: zipfile.ZipFile, folder: Path, name: str
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in opened.infolist():
        path = PurePosixPath(entry.orig_filename)
        if not path.parts and entry.is_dir():  # "./", the archive's own folder
            continue
        fault = _fault_in(entry, folder)
        if fault is None and path in entries:
            fault = "is there twice"
        if fault:
            raise _refused(name, entry, fault)
        entries[path] = entry
    for path, entry in entries.items():
        for parent in path.parents:
            if parent in entries and not entries[parent].is_dir():
                raise _refused(name, entries[parent], f"is a file, and the folder of {_shown(entry)} as well")
    if all(entry.is_dir() for entry in entries.values()):
        raise StageError(f"{name} holds no files. Use an archive that does, or set unzip: false.")
    return entries


def _refused(name: str, entry: zipfile.ZipInfo, fault: str) -> StageError:
    return StageError(
        f"{name} was not extracted: its entry {_shown(entry)} {fault}. Use an archive without such entries."
    )


def _shown(entry: zipfile.ZipInfo) -> str:
    text = entry.orig_filename
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _fault_in(entry: zipfile.ZipInfo, folder: Path) -> str | None:
    raw = entry.orig_filename  # as in the archive; `filename` is already cut at a NUL
    parts = PurePosixPath(raw).parts
    if not parts or raw.startswith("/") or ".." in parts or re.match("[A-Za-z]:", raw):
        return "lies outside of the archive's folder"
    if "\\" in raw or "\0" in raw:
        return "has a backslash or a NUL in its name"
    if (longest := max(len(part.encode()) for part in parts)) > LONGEST_NAME:
        return f"has a name of {longest} bytes, and a file's has at most {LONGEST_NAME}"
    if (length := len(str(folder.absolute() / raw).encode())) >= LONGEST_PATH:
        return f"has a path of {length} bytes, and at most {LONGEST_PATH - 1} are possible"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    return None


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, name: str) -> None:
    try:
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        # No two entries have one name; on this disk `A` and `a` may be one, or two ways to write `é`.
        why = "is on this disk the same file as another entry: their names differ by case or accents alone"
        raise _refused(name, entry, why) from error
    written = 0
    with opened.open(entry) as packed, file:
        while chunk := packed.read(CHUNK):
            written += len(chunk)
            if written > entry.file_size:  # the limits were checked against what the archive declares
                break
            file.write(chunk)
    if written != entry.file_size:
        raise StageError(
            f"{name} is damaged: its entry {_shown(entry)} declares {entry.file_size} bytes "
            f"and has {'more' if written > entry.file_size else written}. Get an intact copy."
        )
