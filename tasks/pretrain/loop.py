"""The one training loop we own, on Accelerate: resumed exactly where it died, on one process or more.

Its checkpoint holds everything the next step depends on (weights, optimizers, data position, random
states), so a run that was killed ends with the same bits as one that was not.
"""

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tasks.batches.blocks import Batch
from tasks.config import PretrainConfig
from tasks.data.token_files import Split, load_tokens
from tasks.distributed.part import ProcessRole
from tasks.errors import StageError, StoppedError
from tasks.machine.device import autocast
from tasks.machine.stopping import Pace
from tasks.models.architectures import build_model
from tasks.models.causal import CausalModel
from tasks.models.optimizers import make_optimizers
from tasks.preflight.pretraining import preflight_pretraining
from tasks.pretrain.checkpoints import Checkpoints
from tasks.pretrain.objectives import OBJECTIVES, TrainingBatches
from tasks.pretrain.processes import Processes
from tasks.pretrain.result import write_result
from tasks.pretrain.schedule import lr_multiplier
from tasks.pretrain.speed import (
    READ_EVERY,
    UNTIMED_STEPS,
    Clock,
    attention_kernel,
    pick_compile,
    pick_kernels,
    pick_precision,
)
from tasks.record.stage import StageRun
from tasks.record.tracking import mlflow_name


@dataclass
class TrainingProgress:
    """Where training stands; what a checkpoint keeps beside tensors."""

    step: int = 0
    epoch: int = 0
    taken: int = 0
    best_loss: float = math.inf
    without_best: int = 0
    """Evaluations since the best one."""
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class UnreadStep:
    """A step whose numbers are still on the device."""

    step: int
    loss: Tensor
    learning_rate: float
    norm: Tensor


class ValidationLoss(NamedTuple):
    """In nats a token, over all predicted tokens, and over those of each source."""

    mean: float
    predicted: int
    by_source: dict[str, float]


class StopAsked(Exception):  # noqa: N818 - nothing is wrong
    """The training is to stop where it stands."""


def train(config: PretrainConfig, run: StageRun, part: ProcessRole, *, tokens: Path) -> None:
    """Check, train and write the outputs, as one process or as one of those that torchrun started."""
    trainer = Trainer(config, run, tokens)
    trainer.require_checks(part)
    trainer.prepare()
    trainer.resume()
    run.phase("compiling the model, in its first step" if trainer.compiled else "the first step")
    part.fit(trainer.fit)
    if part.is_first:
        run.phase("writing the model, and measuring the machine")
        write_result(trainer)
    trainer.processes.end()


class Trainer:
    """Model, optimizers and data of one training, with what it takes to continue it."""

    def __init__(self, config: PretrainConfig, run: StageRun, tokens: Path) -> None:
        self.config = config
        self.run = run
        self.processes = Processes(config)
        self.device = self.processes.device
        self.files = load_tokens(tokens)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokens / "tokenizer")
        self.objective = OBJECTIVES[config.objective](config, self.tokenizer)
        self.blocks = self._batches_at(0, 0)
        self.tokens_per_step = self.objective.tokens_per_step(self.files)
        run.phase("making the model")
        self.plain = build_model(config, self.files, run.fingerprints).to(self.device)
        self.precision = pick_precision(config, self.device, self.plain.width)
        self.compiled = pick_compile(config, self.device)
        if isinstance(self.plain, CausalModel):
            self.plain.kernels = pick_kernels(config, self.device, self.precision, self.plain)
        self.read_every = READ_EVERY[self.device.type]
        self.unread: list[UnreadStep] = []
        self.progress = TrainingProgress()
        self.checkpoints = Checkpoints(run.checkpoint)

    def _batches_at(self, epoch: int, taken: int) -> TrainingBatches:
        return self.objective.batches(self.files, epoch, taken)

    def require_checks(self, part: ProcessRole) -> None:
        """Refuse to train what the preflight finds fault with."""
        part.require(
            self.config.preflight,
            lambda: preflight_pretraining(
                self.plain, self.tokenizer, self.files, self.config, self.device, self.run.phase
            ),
        )

    def prepare(self) -> None:
        """Make what steps the model."""
        torch.manual_seed(self.config.seed + self.processes.rank)
        self.model = self.processes.prepare(self.plain)
        self.optimizers = make_optimizers(self.plain, self.config)  # of the parameters as they are now
        self.step_model = torch.compile(self.model) if self.compiled else self.model

    def fit(self) -> None:
        """Step until `config.steps` or early stopping, with a checkpoint at every evaluation and in between.

        Raises StoppedError when the run is asked to stop, its checkpoint written.
        """
        config, progress = self.config, self.progress
        self.clock = Clock(progress.step + UNTIMED_STEPS)
        self.pace = Pace(config.checkpoint_every, config.steps, progress.step)
        try:
            self._evaluate_if_due()  # an attempt that stopped in the middle of its evaluation left it to this
            while progress.step < config.steps and not self._is_stale():
                if self._saves_or_stops():
                    self._save_checkpoint()
                started = time.perf_counter()
                self._step()
                self.clock.count(progress.step, time.perf_counter() - started, self.tokens_per_step)
                self._report()
                self._evaluate_if_due()
        except StopAsked:
            if progress.step > self.pace.step:
                self._save_checkpoint()
            raise StoppedError(f"stopped after step {progress.step} of {config.steps}") from None

    def _saves_or_stops(self) -> bool:
        """Whether a checkpoint is due, by the clock of the first process. Raises StopAsked."""
        due = self.processes.is_first and self.pace.is_due(self.progress.step)
        stop, due = self.processes.any(self.run.stop.is_set(), due)
        if stop:
            raise StopAsked
        return due

    def _evaluate_if_due(self) -> None:
        step = self.progress.step
        due = step and (step % self.config.eval_every == 0 or step == self.config.steps)
        if due and not any(_is_evaluation(entry, step) for entry in self.progress.history[-1:]):
            self._read_steps()
            self._evaluate()
            self._save_checkpoint()

    def _is_stale(self) -> bool:
        return self.config.patience is not None and self.progress.without_best >= self.config.patience

    def _step(self) -> None:
        self.model.train()
        share = lr_multiplier(self.config, self.progress.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * share
        begin = self.blocks.epoch, self.blocks.taken, self.processes.random_state()
        batch = self.blocks.batch(self.config.sequences, self.processes.share(self.config.sequences))
        # Each label weighs the same, however rows and labels fall to micro-batches and processes.
        supervised = self.processes.sum(batch.supervised())
        if not supervised:
            raise StageError("a batch has no token to predict: every document in it is one token long")
        total = torch.zeros((), device=self.device)
        largest = self.processes.largest_share(self.config.sequences)
        pieces = micro_batches(batch, self.config.batch_size, math.ceil(largest / self.config.batch_size))
        for piece in pieces:
            if self.processes.count == 1 and self.run.stop.is_set():  # several would have to agree each time
                self._abandon_step(*begin)
            last = piece is pieces[-1]
            with nullcontext() if last else self.processes.without_sync(self.model):
                loss = self._loss_sum(self.step_model, piece) / supervised
                self.processes.backward(loss)
                total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        rate = self.config.learning_rate * share
        self.unread.append(UnreadStep(self.progress.step, total, rate, norm))
        if self.progress.step % self.read_every == 0:
            self._read_steps()

    def _read_steps(self) -> None:
        """Wait for the device to have done the steps so far, and write them into the history.

        A GPU is given the next step while it computes this one: who reads a number of each step waits for it.
        """
        unread, self.unread = self.unread, []
        for one in unread:
            value = self.processes.sum(one.loss.item())
            self._require_finite("training", value, one.step)
            norm = _number(one.norm)
            self._remember(
                {"train_loss": value, "learning_rate": one.learning_rate, "gradient_norm": norm}, one.step
            )

    def _abandon_step(self, epoch: int, taken: int, random: dict[str, Tensor | None]) -> NoReturn:
        """Go back to where the step began; no weight has changed yet."""
        self.blocks = self._batches_at(epoch, taken)
        self.processes.set_random_state(random)
        raise StopAsked

    def _loss_sum(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        kernel = attention_kernel(self.device, self.precision, self.config.context)
        with autocast(self.device, self.precision), kernel:
            return model(batch.inputs, batch.labels, documents=batch.documents)

    def _require_finite(self, name: str, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise StageError(
                f"the {name} loss became {loss} at step {step}. "
                "Lower pretrain.learning_rate, or raise pretrain.warmup"
            )

    def _remember(self, values: dict[str, float], step: int) -> None:
        entry = {"step": step, "tokens": step * self.tokens_per_step, **values}
        self.progress.history.append(entry)
        self._log(entry)

    def _log(self, entry: dict[str, Any]) -> None:
        values = {mlflow_name(name): value for name, value in entry.items() if name != "step"}
        self.run.log_metrics(values, entry["step"])

    def _report(self) -> None:
        if self.unread:
            return
        entry = self.progress.history[-1]
        note = f"loss {entry['train_loss']:.3f}"
        if speed := self.clock.tokens_per_second():
            note += f", {speed:,.0f} tokens/s"
        self.run.progress(self.progress.step, self.config.steps, "steps", note)

    # Evaluation

    def _evaluate(self) -> None:
        if len(self.files.validation) < 2:
            self._keep_best()  # nothing to choose by: the last is the best
            return
        self.run.phase("evaluating")
        measured = self.objective.measure(self)
        loss = measured["validation_loss"]
        self._require_finite("validation", loss, self.progress.step)
        self._remember(measured, self.progress.step)
        if speed := self.clock.tokens_per_second():
            self.run.log_metrics({"tokens_per_second": speed}, self.progress.step)
        sample = self.objective.sample(self)
        if self.processes.is_first:
            with (self.run.auxiliary / "samples.txt").open("a", encoding="utf-8") as file:
                file.write(f"--- step {self.progress.step}, validation loss {loss:.4f}\n{sample}\n")
        self.progress.without_best += 1
        if loss < self.progress.best_loss or not self.checkpoints.best.exists():
            if loss < self.progress.best_loss:
                self.progress.without_best = 0
            self.progress.best_loss = min(loss, self.progress.best_loss)
            self._keep_best()

    @torch.no_grad()
    def validation_loss(self) -> ValidationLoss:
        """Mean loss over every predicted token of the split, in nats, and of each source that has a name.

        The sum over tokens is divided once: a mean of batch means would weigh the short last block too much.
        """
        self.model.eval()
        sums = {name: self._validation_sum(split) for name, split in self.files.validation_streams().items()}
        for name, (_, predicted) in sums.items():
            if not predicted:
                of = f" of the source {name!r}" if name else ""
                raise StageError(
                    f"the validation split{of} has no token to predict: its documents are one token long"
                )
        total, predicted = (sum(numbers) for numbers in zip(*sums.values(), strict=True))
        by_source = {name: own / count for name, (own, count) in sums.items() if name}
        return ValidationLoss(total / predicted, predicted, by_source)

    def _validation_sum(self, split: Split) -> tuple[float, int]:
        """Of a stream of the validation split: the summed loss, and how many tokens are predicted."""
        total, predicted = 0.0, 0
        for batch, counts in self.processes.shared_out(self.objective.validation_batches(self.files, split)):
            self.stop_if_asked()
            # Not the compiled model: the last, shorter block would be compiled for anew.
            loss = self._loss_sum(self.model, batch).item()
            if counts:
                total += loss
                predicted += batch.supervised()
        return self.processes.sum(total), int(self.processes.sum(predicted))

    def stop_if_asked(self) -> None:
        """Raise StopAsked, in every process, when one is asked to stop."""
        if any(self.processes.any(self.run.stop.is_set())):
            raise StopAsked

    # Keeping and continuing

    def _keep_best(self) -> None:
        weights = self.processes.weights(self.model)
        if self.processes.is_first:
            self.checkpoints.keep_best(weights)

    def _save_checkpoint(self) -> None:
        self._read_steps()
        self.progress.epoch, self.progress.taken = self.blocks.epoch, self.blocks.taken
        state = {
            **self.processes.state(self.model, self.optimizers),
            "progress": asdict(self.progress),
            "precision": self.precision,
        }
        if self.processes.is_first:
            self.checkpoints.keep(self.progress.step, state)
        self.processes.wait()
        self.pace.wrote(self.progress.step)

    def resume(self) -> None:
        """Continue from the newest checkpoint of an earlier attempt at the same key, if there is one."""
        state = self.checkpoints.newest() if self.processes.is_first else None
        self.processes.wait()  # damaged ones are gone now
        if not self.processes.is_first:
            state = self.checkpoints.newest()
        if state is None:
            return
        self.processes.restore(self.model, self.optimizers, state)
        self.precision = state["precision"]
        self.progress = TrainingProgress(**state["progress"])
        self.blocks = self._batches_at(self.progress.epoch, self.progress.taken)
        for entry in self.progress.history:  # the new MLflow run shows the whole curve
            self._log(entry)
        self.run.say(f"resumes at step {self.progress.step} of {self.config.steps}")
        self.run.progress(self.progress.step, self.config.steps, "steps", "resumed from a checkpoint")


def micro_batches(batch: Batch, size: int, count: int) -> list[Batch]:
    """The batch in `count` pieces of up to `size` rows, the last with what is left.

    Of processes whose shares differ by a row, one may need a piece less. Its last predicts nothing: sharded
    models need every process in every forward.
    """
    pieces = [batch.rows(start, start + size) for start in range(0, len(batch), size)]
    if len(pieces) < count:
        pieces.append(batch.rows(0, 1).without_labels())
    return pieces


def _is_evaluation(entry: dict[str, Any], step: int) -> bool:
    return entry["step"] == step and "validation_loss" in entry


def _number(norm: Tensor) -> float:
    """A norm as a number, also of gradients that are sharded over processes."""
    return (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
