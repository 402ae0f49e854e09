"""What this machine keeps in `mlruns/work` and may make or fetch again, where it was not used for long."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.dispatch.history import size_of
from tasks.judge.ask.answers import ANSWERS, forget_answers, old_answers
from tasks.machine.kept_files import KeptFiles, remove_path
from tasks.machine.locks import SUFFIX, Timeout, holding

KEY = 64  # hexadecimal digits of a stage's key, which its folder is named after


@dataclass(frozen=True)
class Cache:
    """Something that goes."""

    what: str
    count: int
    bytes: int
    remove: Callable[[], None]


def find_caches(work: Path, before: float) -> list[Cache]:
    """What was last used before a time, in seconds since 1970; without kinds of which there is nothing."""
    shared = sorted(path for path in (work / "shared").glob("*") if path.is_dir())
    found = (
        _paths("unfinished stages", [path for path in work.glob("?" * KEY) if path.is_dir()], before),
        _paths("outputs fetched from a server", list((work / "downloads").glob("*")), before),
        _paths("logs of servers", list((work / "logs").glob("*")), before),
        *(_kept_files(folder, before) for folder in shared),
        _answers(work / "shared" / ANSWERS, before),
    )
    return [one for one in found if one is not None]


def _paths(what: str, paths: list[Path], before: float) -> Cache | None:
    old = sorted(path for path in paths if path.suffix != SUFFIX and _last_change(path) < before)
    total = sum(map(_size, old))
    return Cache(what, len(old), total, partial(_remove_all, old, before)) if old else None


def _remove_all(paths: list[Path], before: float) -> None:
    """Remove each that nobody holds and that has not changed since it was looked at."""
    for path in paths:
        try:
            with holding(f"{path}{SUFFIX}", timeout=0):
                if os.path.lexists(path) and _last_change(path) < before:
                    remove_path(path)
        except Timeout:
            continue


def _kept_files(folder: Path, before: float) -> Cache | None:
    files = KeptFiles(folder)
    old = files.unused_since(before)
    total = sum(_size(folder / name) for name in old)
    what = f"models written for engines ({folder.name})"
    return Cache(what, len(old), total, partial(files.remove, old)) if old else None


def _answers(path: Path, before: float) -> Cache | None:
    count, total = old_answers(path, before) if path.is_file() else (0, 0)
    return Cache("answers of judges", count, total, partial(forget_answers, path, before)) if count else None


def _last_change(path: Path) -> float:
    """Of a folder, of whatever lies in it; of a link, its own."""
    inside = path.rglob("*") if _is_folder(path) else ()
    return max(one.lstat().st_mtime for one in (path, *inside))


def _size(path: Path) -> int:
    return size_of(path) if _is_folder(path) else path.lstat().st_size


def _is_folder(path: Path) -> bool:
    """Whether it is one itself, and no link to one elsewhere."""
    return path.is_dir() and not path.is_symlink()
