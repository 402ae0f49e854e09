"""Trainers that stop at any moment, and go on from there to the bits of one that never stopped.

A checkpoint is whole once `complete.json` is in it, and as long as its files are those that it lists. It is
written at every evaluation, when one is due by the clock, and when the run is asked to stop: after a step, in
the middle of its evaluation, or in the middle of a step's micro-batches, which are then done again.
"""

import json
import logging
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import datasets
import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from tasks.config import TuningConfig
from tasks.distributed.collectives import any_of, sum_over
from tasks.distributed.part import ProcessRole
from tasks.errors import StoppedError
from tasks.finetune.sharing import rounds, shared_loader
from tasks.machine.stopping import Pace
from tasks.models.optimizers import JointOptimizer, make_optimizers
from tasks.record.manifest import canonical_json, files_under, write_atomically
from tasks.record.seals import damage, listed, reading, seal
from tasks.record.stage import StageRun

log = logging.getLogger(__name__)

COMPLETE = "complete.json"  # sizes and digests of a checkpoint's files, written last
RANDOM = "random_states.pt"  # of several processes
KEPT = 2

Item = TypeVar("Item")


class StopAsked(Exception):  # noqa: N818 - nothing is wrong
    """The evaluation is to stop where it is."""


class Resumable(Trainer):
    """Before the class of a trainer among its parents, this makes it one that stops and resumes.

    `evaluate` passes its batches through `heeding`, and adds up what all processes have made of theirs. With
    several processes a step has the rows that it has in one (sharing.py), and they stop together.
    """

    tuning: TuningConfig
    stage_run: StageRun
    pace: Pace
    _random: dict[str, Any]

    def get_train_dataloader(self) -> DataLoader:
        """The parent's; with several processes this one's share of it."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        rows = self.train_dataset
        if isinstance(rows, datasets.Dataset):
            rows = self._remove_unused_columns(rows, description="training")
        return shared_loader(rows, self.data_collator, self.tuning, self.args.process_index)

    def get_eval_dataloader(self, *arguments: Any) -> DataLoader:
        """The parent's, of the dataset that is given, or the trainer's.

        Several processes share out its batches when they evaluate (`heeding`).
        """
        if self.args.world_size == 1:
            return super().get_eval_dataloader(*arguments)
        rows = arguments[0] if arguments else self.eval_dataset
        if isinstance(rows, datasets.Dataset):
            rows = self._remove_unused_columns(rows, description="evaluation")
        return DataLoader(rows, self.args.eval_batch_size, collate_fn=self.data_collator)

    def sum_over(self, number: float) -> float:
        """Of what each process has."""
        return sum_over(number, self.args.device)

    def is_stopping(self) -> bool:
        """Whether one of the processes was asked to stop; all of them ask at the same time."""
        return any_of((self.stage_run.stop.is_set(),), self.args.device)[0]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The parent's AdamW, or Muon for the matrices of the blocks and AdamW for the rest."""
        if self.optimizer is None and self.tuning.optimizer == "muon":
            self.optimizer = JointOptimizer(make_optimizers(self.model, self.tuning))
        return super().create_optimizer(model)

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        """After each step: what the parent does, a checkpoint when one is due, and a stop."""
        due = self.args.process_index == 0 and self.pace.is_due(self.state.global_step)
        if any_of((due,), self.args.device)[0]:
            self.control.should_save = True
        try:
            super()._maybe_log_save_evaluate(*arguments, **named)
        except StopAsked:
            self._stop()  # what is left of the step, the evaluation, comes first when it goes on
        if self.is_stopping():
            self._stop()
        self._random = _random_states()

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """One micro-batch; no weight has changed before the last one of a step.

        Several processes would have to agree each time: they finish the step.
        """
        self.stop_within_step()
        return super().training_step(*arguments, **named)

    def stop_within_step(self) -> None:
        """Stop, if that was asked for, as the training was before the step that is being taken."""
        if self.args.world_size == 1 and self.stage_run.stop.is_set():
            if self.state.global_step > self.pace.step:
                _set_random_states(self._random)
            self._stop()

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
        if self.args.should_save:
            mark_complete(folder / f"checkpoint-{self.state.global_step}")
            rotate_checkpoints(str(folder), KEPT, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()
        self.pace.wrote(self.state.global_step)

    def _save_rng_state(self, output_dir: str) -> None:
        """What the parent writes; of several processes, the first one writes the states of all."""
        if self.args.world_size == 1:
            super()._save_rng_state(output_dir)
            return
        states = gather_object([_random_states()])
        if self.args.should_save:
            torch.save(states, Path(output_dir) / RANDOM)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Undo `_save_rng_state`. With another number of processes than then, they are drawn anew."""
        path, count = Path(checkpoint or "") / RANDOM, self.args.world_size
        if checkpoint is None or (count == 1 and not path.exists()):
            super()._load_rng_state(checkpoint)
            return
        states: list[dict[str, Any]] = []
        if path.exists():
            with safe_globals():
                states = torch.load(path, weights_only=True)
        if len(states) == count:
            _set_random_states(states[self.args.process_index])
        else:  # not as the first steps were seeded, whose masks would come again
            torch.manual_seed(self.args.seed + self.state.global_step * count + self.args.process_index)

    def heeding(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches of an evaluation that this process does; raises StopAsked."""
        for own in rounds(batches, self.args.process_index, self.args.world_size):
            self.stop_evaluating()
            yield from own

    def stop_evaluating(self) -> None:
        """Raises StopAsked where that was asked for."""
        if self.is_stopping():
            raise StopAsked

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


def train(trainer: Resumable, run: StageRun, config: TuningConfig, part: ProcessRole) -> None:
    """Train to the end, from the newest whole checkpoint if there is one.

    Raises StoppedError when the run is asked to stop, its checkpoint written.
    """
    trainer.remove_callback(PrinterCallback)  # standard output belongs to --json
    trainer.add_callback(_EvaluateFirst(trainer))
    if part.is_first:
        remove_damaged(run.checkpoint)
    trainer.accelerator.wait_for_everyone()
    checkpoint = newest(run.checkpoint)
    step = _step_of(checkpoint) if checkpoint else 0
    if step:
        run.say(f"resumes at step {step} of {trainer.args.max_steps}")
    trainer.tuning = config
    trainer.stage_run = run
    trainer.pace = Pace(config.checkpoint_every, trainer.args.max_steps, step)
    if config.processes > 1:  # each has dropout of its own
        torch.manual_seed(config.seed + trainer.args.process_index)
    run.phase("the first step")
    part.fit(lambda: _fit(trainer, checkpoint))


def _fit(trainer: Resumable, checkpoint: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except StopAsked:  # in the evaluation that was left to this attempt
        raise StoppedError(f"stopped after step {trainer.pace.step}") from None


def mark_complete(folder: Path) -> None:
    """Say of a checkpoint that all of it is there, and what its files are."""
    seals = {name: seal(folder / name) for name in files_under(folder)}
    write_atomically(folder / COMPLETE, canonical_json(seals))


def remove_damaged(folder: Path) -> None:
    """Remove the checkpoints of an earlier attempt that nothing can go on from.

    Those that were never complete (half-written, half-removed), those whose files are found to be others,
    and those whose best weights are in one of these. Raises StageError, and removes nothing, when one cannot
    be read: that does not mean that it is damaged.
    """
    found = {path: _damage(path) for path in _checkpoints(folder)}
    whole = [path for path, fault in found.items() if fault is None]
    for path in reversed(whole):
        best = _best_of(path)
        if best is None or folder / best in whole:
            break  # an older one is not gone on from, whatever has become of its best weights
        found[path] = f"its best weights are those of {best}, which is gone"
    for path, fault in found.items():
        if fault:
            log.warning("the checkpoint %s is left out: %s", path, fault)
            shutil.rmtree(path)


def newest(folder: Path) -> Path | None:
    """The last checkpoint of an earlier attempt."""
    return next(reversed(_checkpoints(folder)), None)


def _checkpoints(folder: Path) -> list[Path]:
    """The oldest first."""
    return sorted(listed(folder, f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step_of)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _damage(checkpoint: Path) -> str | None:
    """Why a checkpoint is not whole, or None. Raises StageError when it cannot be read."""
    marker = checkpoint / COMPLETE
    with reading(f"the checkpoint {checkpoint}"):
        try:
            seals = json.loads(marker.read_bytes())
        except FileNotFoundError:
            return "it was not written to its end, or not removed to its end"
        except ValueError:
            return f"{COMPLETE} is no longer what was written"
        for name, sealed in seals.items():
            if fault := damage(checkpoint / name, sealed):
                return f"{name}: {fault}"
    return None


def _best_of(checkpoint: Path) -> str | None:
    """The name of the checkpoint with the lowest validation loss so far; None before the first evaluation."""
    with reading(f"the checkpoint {checkpoint}"):
        step = json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())["best_global_step"]
    return None if step is None else f"{PREFIX_CHECKPOINT_DIR}-{step}"


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
