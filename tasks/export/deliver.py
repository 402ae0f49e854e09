"""Bringing an export to where it is wanted: a folder, a server, a hub; done whether it was made or found."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

from tasks.config import ExportConfig
from tasks.errors import UsageError
from tasks.export.hub import push, token_of
from tasks.machine.disk import require_space, writing
from tasks.record.manifest import files_under, sha256_of_tree
from tasks.report.exports import FILES


def require_places(config: ExportConfig) -> None:
    """What can be told before anything takes time. Raises UsageError.

    A folder may hold what an earlier run of the same brought there, which shows only at the end.
    """
    if config.output:
        _require_folder(Path(config.output))
    if config.push:
        token_of()


def require_empty(folder: Path) -> None:
    """Raises UsageError for a folder with files in it, and for what is no folder."""
    _require_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"--output {folder} is not empty; name a new folder, or an empty one")


def _require_folder(folder: Path) -> None:
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        raise UsageError(f"--output {folder} is a file; name a new folder, or an empty one")
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"--output {folder}: there is no folder {folder.absolute().parent}")


def deliver(config: ExportConfig, output: Path) -> Iterator[str]:
    """What was done, one after the other."""
    if config.output:
        yield f"files in {write_out(output / FILES, Path(config.output))}"
    if config.format.delivers:
        yield resolve_name(config.format.delivers)(config, output)
    if config.push:
        message = f"{config.name or 'model'} as {config.to}"
        yield f"pushed to {push(config.push, output / FILES, message, private=config.private)}"


def write_out(files: Path, folder: Path) -> Path:
    """Copy the files beside the folder and rename: half of them are never found under its name.

    A folder that holds the same files is left as it is. What an interrupted copy left is taken away by the
    next. Raises UsageError for a folder with other files.
    """
    folder = folder.absolute()
    if folder.is_dir() and sha256_of_tree(folder) == sha256_of_tree(files):
        return folder
    require_empty(folder)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    sizes = sum((files / name).stat().st_size for name in files_under(files))
    require_space(folder.parent, sizes, f"--output {folder}")
    try:
        with writing("the export", folder.parent):
            shutil.copytree(files, part)
            part.replace(folder)  # which an empty folder gives way to
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
