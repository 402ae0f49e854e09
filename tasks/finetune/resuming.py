"""Trainers that stop at any moment, and go on from there to the bits of one that never stopped.

A checkpoint is whole once `complete.json` is in it. It is written at every evaluation, when one is due by the
clock, and when the run is asked to stop: after a step, in the middle of its evaluation, or in the middle of a
step's micro-batches, which are then done again.
"""

import json
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import rotate_checkpoints

from tasks.config import TuningConfig
from tasks.errors import StoppedError
from tasks.manifest import canonical_json, files_under, write_atomically
from tasks.pretrain.optimizers import JointOptimizer, make_optimizers
from tasks.record import StageRun
from tasks.stopping import Pace, run_stoppable

COMPLETE = "complete.json"  # sizes of a checkpoint's files, written last
KEPT = 2

Item = TypeVar("Item")


class StopAsked(Exception):  # noqa: N818 - nothing is wrong
    """The evaluation is to stop where it is."""


class Resumable(Trainer):
    """Before the class of a trainer among its parents, this makes it one that stops and resumes.

    `evaluate` passes its batches through `heeding`.
    """

    tuning: TuningConfig
    stage_run: StageRun
    pace: Pace
    _random: dict[str, Any]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The parent's AdamW, or Muon for the matrices of the blocks and AdamW for the rest."""
        if self.optimizer is None and self.tuning.optimizer == "muon":
            self.optimizer = JointOptimizer(make_optimizers(self.model, self.tuning))
        return super().create_optimizer(model)

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        """After each step: what the parent does, a checkpoint when one is due, and a stop."""
        if self.pace.is_due(self.state.global_step):
            self.control.should_save = True
        try:
            super()._maybe_log_save_evaluate(*arguments, **named)
        except StopAsked:
            self._stop()  # what is left of the step, the evaluation, comes first when it goes on
        if self.stage_run.stop.is_set():
            self._stop()
        self._random = _random_states()

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """One micro-batch; no weight has changed before the last one of a step."""
        if self.stage_run.stop.is_set():
            if self.state.global_step > self.pace.step:
                _set_random_states(self._random)
            self._stop()
        return super().training_step(*arguments, **named)

    def _run_epoch(self, **named: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**named)
        else:  # it goes on from its last step, where the parent would take another
            self.control.should_training_stop = True

    def _stop(self) -> NoReturn:
        if self.state.global_step > self.pace.step:
            self._save_checkpoint(self.model, None)
        raise StoppedError(f"stopped after step {self.state.global_step} of {self.state.max_steps}")

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        super()._save_checkpoint(*arguments, **named)
        folder = Path(self.args.output_dir)
        mark_complete(folder / f"checkpoint-{self.state.global_step}")
        rotate_checkpoints(str(folder), KEPT, self.state.best_model_checkpoint)
        self.pace.wrote(self.state.global_step)

    def heeding(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches of an evaluation; raises StopAsked."""
        for batch in batches:
            if self.stage_run.stop.is_set():
                raise StopAsked
            yield batch

    def evaluate_if_left(self) -> None:
        """The evaluation that the attempt before was stopped in."""
        state, arguments = self.state, self.args
        if not state.global_step or arguments.eval_strategy != "steps":
            return
        due = state.global_step % arguments.eval_steps == 0 or state.global_step >= state.max_steps
        if due and not any(
            entry["step"] == state.global_step and "eval_loss" in entry for entry in state.log_history
        ):
            metrics = self.evaluate()
            if self._determine_best_metric(metrics, None):
                state.best_model_checkpoint = f"{arguments.output_dir}/checkpoint-{state.global_step}"


class _EvaluateFirst(TrainerCallback):
    def __init__(self, trainer: Resumable) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, _args: TrainingArguments, _state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.evaluate_if_left()


def train(trainer: Resumable, run: StageRun, config: TuningConfig) -> None:
    """Train to the end, from the newest whole checkpoint if there is one.

    Raises StoppedError when the run is asked to stop, its checkpoint written.
    """
    trainer.remove_callback(PrinterCallback)  # standard output belongs to --json
    trainer.add_callback(_EvaluateFirst(trainer))
    checkpoint = newest_complete(run.checkpoint)
    step = _step_of(checkpoint) if checkpoint else 0
    if step:
        run.say(f"resumes at step {step} of {trainer.args.max_steps}")
    trainer.tuning = config
    trainer.stage_run = run
    trainer.pace = Pace(config.checkpoint_every, trainer.args.max_steps, step)
    run.phase("the first step")
    run_stoppable(lambda: _fit(trainer, checkpoint), run.stop)


def _fit(trainer: Resumable, checkpoint: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except StopAsked:  # in the evaluation that was left to this attempt
        raise StoppedError(f"stopped after step {trainer.pace.step}") from None


def mark_complete(folder: Path) -> None:
    """Say of a checkpoint that all of it is there."""
    sizes = {name: (folder / name).stat().st_size for name in files_under(folder)}
    write_atomically(folder / COMPLETE, canonical_json(sizes))


def newest_complete(folder: Path) -> Path | None:
    """The last whole checkpoint of an earlier attempt; half-written and half-removed ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=_step_of)
    for path in checkpoints:
        if not _is_whole(path):
            shutil.rmtree(path)
    return next((path for path in reversed(checkpoints) if path.exists()), None)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_bytes())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:
        return False


def _random_states() -> dict[str, Any]:
    """What a checkpoint of Transformers keeps of chance."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
