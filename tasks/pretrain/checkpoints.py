"""Checkpoints on the disk: written whole or not at all, the last two kept, those found damaged removed.

`checksums.json` has the length and SHA-256 of each file. It is written before the file gets its name, and
keeps what the file of that name was before: a kill in between leaves one of the two.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import torch

from tasks.record.manifest import canonical_json, write_atomically
from tasks.record.seals import Seal, damage, listed, reading, seal

log = logging.getLogger(__name__)

KEPT = 2
CHECKSUMS = "checksums.json"


class Checkpoints:
    """What a later attempt continues from: a state for each of the last steps, and the best weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / "best.pt"

    def keep_best(self, weights: dict[str, Any]) -> None:
        self._save(weights, self.best)

    def best_weights(self) -> dict[str, Any]:
        """Raises StageError when they cannot be read."""
        return self._load(self.best)

    def keep(self, step: int, state: dict[str, Any]) -> None:
        """Add the state after a step, and remove what is older than the one before it."""
        self._save(state, self.folder / f"step-{step:09d}.pt")
        for old in self._all()[:-KEPT]:
            old.unlink()

    def _all(self) -> list[Path]:
        return listed(self.folder, "step-*.pt")

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole; those found damaged (a disk that lost bytes) are removed.

        Without the best weights only a state from before the first evaluation is of use. Raises StageError,
        and removes nothing, when one cannot be read: that does not mean that it is damaged.
        """
        for path in reversed(self._all()):
            found = self._damage(path)
            if found is None:
                state = self._load(path)
                if state["progress"]["best_loss"] == math.inf:
                    return state
                found = self._damage(self.best)
                if found is None:
                    return state
                found = f"of its best weights, {found}"
            log.warning("the checkpoint %s is damaged (%s) and is left out", path, found)
            path.unlink()
        self.best.unlink(missing_ok=True)
        return None

    def _damage(self, path: Path) -> str | None:
        with reading(f"the checkpoint {path}"):
            sums = self._checksums()
            if path.name not in sums:
                if not path.exists():
                    return "it is missing"
                raise ValueError(f"{self.folder / CHECKSUMS} does not tell of {path.name}")
            return damage(path, *sums[path.name])

    def _load(self, path: Path) -> dict[str, Any]:
        with reading(f"the checkpoint {path}"):
            return torch.load(path, map_location="cpu", weights_only=True)

    def _checksums(self) -> dict[str, list[Seal]]:
        """What each file is, or what it was and is about to be."""
        path = self.folder / CHECKSUMS
        return json.loads(path.read_bytes()) if path.exists() else {}

    def _save(self, state: dict[str, Any], path: Path) -> None:
        """Write whole or not at all: a kill in the middle leaves the previous checkpoint as it was."""
        part = path.with_suffix(".part")
        try:
            torch.save(state, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())  # the bytes before the name, even across a power cut
            sums = {name: known for name, known in self._checksums().items() if (self.folder / name).exists()}
            sums[path.name] = [*sums.get(path.name, [])[-1:], seal(part)]
            write_atomically(self.folder / CHECKSUMS, canonical_json(sums))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # of a full disk, which has no room for half a checkpoint
