"""The pretrain stage: one process here, or several."""

from pathlib import Path

from tasks.config import PretrainConfig
from tasks.distributed.launch import run_training
from tasks.pretrain.loop import train
from tasks.record.stage import StageRun


def pretrain(config: PretrainConfig, run: StageRun, *, tokens: Path) -> None:
    """Train on `tokens` (from the tokenize stage) and write `model/`, `history.jsonl`, `summary.json`.

    `model/` is the checkpoint with the lowest validation loss, with its tokenizer; it loads with
    `AutoModelForCausalLM`. Raises StageError for a corpus shorter than the context and for a loss that is
    not a number, RefusedError when a check of the preflight fails.
    """
    run_training(train, config, run, tokens=tokens)
