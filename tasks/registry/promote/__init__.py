"""Registering a model, and deciding whether it becomes the champion."""

from tasks.registry.promote.candidate import read_scores
from tasks.registry.promote.stage import promote

__all__ = ["promote", "read_scores"]
