"""Where libraries keep what they may make again, in a home folder that cannot be written to."""

import os
from collections.abc import MutableMapping
from pathlib import Path

from tasks.machine.home import home


def settle(environ: MutableMapping[str, str] = os.environ) -> None:
    """Send caches to `mlruns/work/caches/` that would have to be made where nothing can be made.

    A cache that is there is left in its place: of one that can only be read, models may be loaded.
    """
    folder = home() / "mlruns" / "work" / "caches"
    user = _user_home(environ)
    cache = Path(environ.get("XDG_CACHE_HOME") or user / ".cache")
    config = Path(environ.get("XDG_CONFIG_HOME") or user / ".config")
    if not (cache / "huggingface").is_dir() and not _can_be_made(cache / "huggingface"):
        environ.setdefault("HF_HOME", str(folder / "huggingface"))
    if not (_can_be_made(config / "matplotlib") and _can_be_made(cache / "matplotlib")):
        environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    if not _can_be_made(user / ".triton"):
        environ.setdefault("TRITON_HOME", str(folder))


def _user_home(environ: MutableMapping[str, str]) -> Path:
    try:
        return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    except RuntimeError:  # a user that the system does not know
        return Path("/")


def _can_be_made(folder: Path) -> bool:
    """Whether a folder can be written to, or could be if it were made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
