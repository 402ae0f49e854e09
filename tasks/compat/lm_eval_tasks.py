"""Insides of lm-eval: how it reads the description of a task, and what it prints while it works."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import lm_eval.api.task
from lm_eval.tasks._yaml_loader import load_yaml

STRUCTURE = ("tag", "group", "task_list")
"""Keys of a description that are not about the task."""


def described(path: Path) -> dict[str, Any]:
    """What a task's file says, over the files that it includes, functions as functions."""
    return {key: value for key, value in load_yaml(path).items() if key not in STRUCTURE}


@contextmanager
def quietly() -> Iterator[None]:
    """Without the bars that lm-eval and `datasets` draw, and lm-eval's warnings of settings that it reads."""
    task, logger = lm_eval.api.task, logging.getLogger("lm_eval")
    bar, level, drawn = task.tqdm, logger.level, datasets.are_progress_bars_disabled()
    task.tqdm = _no_bar
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        task.tqdm = bar
        logger.setLevel(level)
        if not drawn:
            datasets.enable_progress_bars()


def _no_bar(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items
