"""Branches and tags of the Hugging Face Hub, made the commits that they are when a pipeline begins.

`main` is another state next month, and a key that says `main` would find what was made of the old one. Where
the hub cannot be asked, the commit of the copy that this machine keeps takes its place, and is told.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, TypeVar

from tasks.config import BaseConfig, DownloadConfig, PretrainConfig, Source, TokenizeConfig
from tasks.errors import StageError
from tasks.machine.proxies import require_way_to_hub

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 30.0  # seconds

Pinned = TypeVar("Pinned", BaseConfig, PretrainConfig, TokenizeConfig, DownloadConfig)
Kind = Literal["model", "dataset"]

_known: ContextVar[dict[tuple[Kind, str, str | None], str] | None] = ContextVar("known", default=None)


def pinned(config: Pinned) -> Pinned:
    """The configuration with the commit of every model and data set that it takes from the hub.

    What is a folder of this machine, in a mirror, or fixed by a SHA-256, is left as it is. Raises StageError
    where no commit can be found out.
    """
    if isinstance(config, DownloadConfig):
        sources = tuple(_pinned_source(source, config.mirror) for source in config.sources)
        return config.model_copy(update={"sources": sources})
    name = _name_on_hub(config)
    if name is None:
        return config
    return config.model_copy(update={"revision": commit_of("model", name, config.revision)})


def _name_on_hub(config: BaseConfig | PretrainConfig | TokenizeConfig) -> str | None:
    if isinstance(config, BaseConfig):
        return None if config.is_random or config.is_registered or config.folder else config.model
    name = config.name if isinstance(config, TokenizeConfig) else config.model
    return None if name is None or Path(name).is_dir() else name


def _pinned_source(source: Source, mirror: str | None) -> Source:
    if source.dataset is None or source.sha256 or mirror:
        return source
    return source.model_copy(update={"revision": commit_of("dataset", source.dataset, source.revision)})


@contextmanager
def asked_once() -> Iterator[None]:
    """While the body runs a branch stays the commit that it was when it was first asked for.

    Whatever is compared there, as the trials of a sweep, comes from one state of the hub.
    """
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def commit_of(kind: Kind, name: str, revision: str | None) -> str:
    """The commit that a revision, `main` if there is none, is now. Raises StageError."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    known, asked = _known.get(), (kind, name, revision)
    if known is None:
        return _commit_now(*asked)
    if asked not in known:
        known[asked] = _commit_now(*asked)
    return known[asked]


def _commit_now(kind: Kind, name: str, revision: str | None) -> str:
    """Of the hub, or where it cannot be asked of this machine's copy. Raises StageError."""
    from huggingface_hub.constants import ENDPOINT

    require_way_to_hub()
    wanted = revision or "main"
    try:
        return ask_commit(kind, name, revision)
    except Exception as error:  # of huggingface_hub, httpx: each has its own
        if kept := _kept(kind, name, wanted):
            log.warning(
                "%s cannot be asked for %s at %s (%s); the copy of this machine is taken, of commit %s",
                ENDPOINT,
                name,
                wanted,
                type(error).__name__,
                kept,
            )
            return kept
        reason = str(error).splitlines()[0]
        raise StageError(
            f"the {kind} {name} ({wanted}) could not be downloaded from {ENDPOINT}: {type(error).__name__}: "
            f"{reason}. Check its name and the network, set its revision to a commit of 40 digits, which "
            "need not be asked for, or HF_ENDPOINT to a mirror; or name a folder with its files. One that "
            "needs a login is not asked for"
        ) from error


def ask_commit(kind: Kind, name: str, revision: str | None) -> str:
    """The commit that the hub says a revision is now. Raises what huggingface_hub raises."""
    from huggingface_hub import HfApi

    api = HfApi(token=False)  # a stored one would go to whatever HF_ENDPOINT names
    ask = api.model_info if kind == "model" else api.dataset_info
    return str(ask(name, revision=revision or "main", timeout=TIMEOUT).sha)


def _kept(kind: Kind, name: str, revision: str) -> str | None:
    """The commit that a revision was when this machine last fetched it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(HF_HUB_CACHE, f"{kind}s--{name.replace('/', '--')}", "refs", revision)
    text = path.read_text().strip() if path.is_file() else ""
    return text if COMMIT.fullmatch(text) else None
