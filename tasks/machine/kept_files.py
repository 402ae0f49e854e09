"""Files that take long to make and may be made again: kept in a folder up to a limit, between processes.

Who uses one holds its lock with others; who makes or removes one holds it alone. The kernel lets go of the
locks of a process that is killed. What is made is written beside its place and then renamed, so half of it is
never found.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.machine.disk import writing

LOCK, PART = ".lock", ".part"
MOST_BYTES = 20 * 10**9
MOST = 50


def _say_nothing(_: str) -> None:
    pass


@dataclass(frozen=True)
class KeptFiles:
    """The files and folders of one folder."""

    folder: Path
    tell: Callable[[str], None] = _say_nothing
    """Who hears what is removed."""
    most_bytes: int = MOST_BYTES
    most: int = MOST

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    @contextmanager
    def using(self, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """What is kept under a name, written to the path that `make` is given where it is not there.

        It stays while the body runs, and longer until room is needed: the oldest that nobody uses goes first.

        Raises StageError when the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path, lock = self.folder / name, self.folder / f"{name}{LOCK}"
        while True:
            with _locked(lock, fcntl.LOCK_SH):
                if path.exists():
                    os.utime(lock)  # the time of its last use
                    yield path
                    return
            with _locked(lock, fcntl.LOCK_EX):
                if not path.exists():
                    self._make(path, make)

    def unused_since(self, before: float) -> list[str]:
        """What was last used before a time, in seconds since 1970."""
        names = {path.name.removesuffix(LOCK).removesuffix(PART) for path in self.folder.glob("*")}
        return sorted(name for name in names if self._last_use(name) < before)

    def remove(self, names: Iterable[str]) -> None:
        """Remove these where nobody uses them."""
        for name in names:
            self._remove_unused(name)

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        part = path.with_name(f"{path.name}{PART}")
        remove_path(part)  # of an attempt that was killed
        self._make_room(path.name)
        try:
            with writing(path.name, self.folder):
                make(part)
                part.rename(path)
        finally:
            remove_path(part)

    def _make_room(self, wanted: str) -> None:
        """Remove what is beyond the limit, and what killed attempts left; `wanted` is not there yet."""
        there = {path.name.removesuffix(LOCK).removesuffix(PART) for path in self.folder.iterdir()}
        names = there - {wanted}
        for name in names:
            if not self.has(name):
                self._remove_unused(name)
        kept = sorted(filter(self.has, names), key=self._last_use, reverse=True)
        size = 0
        for place, name in enumerate(kept, 1):
            size += _size(self.folder / name)
            if (place >= self.most or size > self.most_bytes) and self._remove_unused(name):
                self.tell(f"removed {self.folder / name}, which was used last among more than are kept")

    def _last_use(self, name: str) -> float:
        with suppress(FileNotFoundError):  # another process removed it just now
            return (self.folder / f"{name}{LOCK}").stat().st_mtime
        return 0.0

    def _remove_unused(self, name: str) -> bool:
        """Whether it could be removed: nobody uses it, and nobody makes it."""
        lock = self.folder / f"{name}{LOCK}"
        try:
            with _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                remove_path(self.folder / f"{name}{PART}")
                remove_path(self.folder / name)
                lock.unlink()
        except BlockingIOError:
            return False
        return True


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    """Hold a lock of that file. Raises BlockingIOError where LOCK_NB is asked for and others hold it.

    Who removes the file holds its lock: one that waited for it has a file without a name, and begins anew.
    """
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, operation)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    yield
                    return


def remove_path(path: Path) -> None:
    """A file, a folder with all that is in it, or a link alone: what that leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
