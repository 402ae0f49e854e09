"""Checkpoints on the disk: written whole or not at all, the last two kept, damaged ones left out."""

import logging
import math
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from tasks.scarcity import require_no_want

log = logging.getLogger(__name__)

KEPT = 2


class Checkpoints:
    """What a later attempt continues from: a state for each of the last steps, and the best weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / "best.pt"

    def keep_best(self, weights: dict[str, Any]) -> None:
        _save(weights, self.best)

    def best_weights(self) -> dict[str, Any]:
        return torch.load(self.best, map_location="cpu", weights_only=True)

    def keep(self, step: int, state: dict[str, Any]) -> None:
        """Add the state after a step, and remove what is older than the one before it."""
        _save(state, self.folder / f"step-{step:09d}.pt")
        for old in self._all()[:-KEPT]:
            old.unlink()

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def newest(self) -> dict[str, Any] | None:
        """The newest state that can be read; damaged ones (a power cut, a full disk) are removed.

        Without the best weights only a state from before the first evaluation is of use. Raises StageError,
        and removes nothing, when one cannot be read for want of memory, file handles or rights.
        """
        for path in reversed(self._all()):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["progress"]["best_loss"] < math.inf:
                    self.best_weights()
                return state
            except (MemoryError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                require_no_want(error, f"the checkpoint {path}")
                log.warning("the checkpoint %s cannot be read and is left out: %s", path, error)
                path.unlink()
        self.best.unlink(missing_ok=True)
        return None


def _save(state: dict[str, Any], path: Path) -> None:
    """Write whole or not at all: a kill in the middle leaves the previous checkpoint as it was."""
    part = path.with_suffix(".part")
    try:
        torch.save(state, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # the bytes before the name, even across a power cut
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # of a full disk, which has no room for half a checkpoint
