"""What every kind of fine-tuning shares: the trainer's arguments, its numbers, and what is left.

The trainers are those of Transformers and TRL, made resumable (resuming.py).
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tasks.config import TuningConfig
from tasks.distributed.part import PATIENCE
from tasks.errors import StageError
from tasks.finetune.sharing import micro_batches
from tasks.machine.device import warn_of_emulation
from tasks.machine.json_files import JsonFile
from tasks.models.summary import write_history
from tasks.record.stage import StageRun
from tasks.record.tracking import mlflow_name
from tasks.show.curves import draw_losses

NAMES = {
    "loss": "train_loss",
    "eval_loss": "validation_loss",
    "eval_score": "validation_score",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}

KEPT = ("validation_loss", "validation_score")  # what the kept weights have


def training_arguments(
    kind: type[TrainingArguments],
    config: TuningConfig,
    run: StageRun,
    *,
    examples: int,
    validated: bool,
    device: torch.device,
    keep_by: str = "loss",
    **own: Any,
) -> TrainingArguments:
    """Arguments for a trainer of `kind` that sees `examples` an epoch; `own` are those of the kind alone.

    The weights that are kept have the lowest validation loss, or the highest score where `keep_by` is one.
    """
    warn_of_emulation(config.precision, device)
    batches = math.ceil(examples / config.batch_size)
    steps = math.ceil(math.ceil(batches / config.accumulation) * config.epochs)  # an epoch ends with a step
    every = max(1, math.ceil(steps / config.evaluations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TRL's own defaults set a name Transformers retires
        arguments = kind(
            output_dir=str(run.checkpoint),
            max_steps=steps,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=config.batch_size,
            gradient_accumulation_steps=micro_batches(config),
            ddp_timeout=int(PATIENCE.total_seconds()),
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=round(config.warmup * steps),
            weight_decay=config.weight_decay,
            bf16=config.precision == "bfloat16",
            use_cpu=device.type == "cpu",
            seed=config.seed,
            data_seed=config.seed,
            logging_steps=1,
            logging_nan_inf_filter=False,
            eval_strategy="steps" if validated else "no",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=None,  # Resumable removes old ones once the new one is whole
            load_best_model_at_end=validated,
            metric_for_best_model=("eval_loss" if keep_by == "loss" else "eval_score") if validated else None,
            greater_is_better=keep_by != "loss" if validated else None,
            dataloader_num_workers=0,
            dataloader_pin_memory=device.type == "cuda",
            gradient_checkpointing=config.gradient_checkpointing,
            report_to=[],
            disable_tqdm=True,
            **own,
        )
    # One process takes one device. Of several visible ones Transformers would make a DataParallel, and
    # multiply by their number the batch that the steps were counted from; no argument says not to.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def require_finite(name: str, loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise StageError(f"the {name} loss became {loss} at step {step}. Lower the stage's learning_rate")


@torch.no_grad()
def token_sums(
    model: torch.nn.Module,
    batches: Iterable[dict[str, Any]],
    summed: Callable[[dict[str, Any]], tuple[torch.Tensor, torch.Tensor]],
    sum_over: Callable[[float], float] = float,
) -> tuple[float, float]:
    """The summed loss of every supervised token of all batches, in nats, without dropout, and how many.

    `summed` gives a batch's summed loss and how many tokens that is of; `sum_over` adds up what several
    processes have made of theirs.
    """
    was_training = model.training
    model.eval()
    total, supervised = 0.0, 0
    for batch in batches:
        loss, tokens = summed(batch)
        total += loss.item()
        supervised += int(tokens)
    model.train(was_training)
    return sum_over(total), sum_over(supervised)


def evaluated(trainer: Trainer, metrics: dict[str, float]) -> dict[str, float]:
    """Log an evaluation and tell the callbacks, which keep the best checkpoint by it; returns the metrics."""
    require_finite("validation", metrics["eval_loss"], trainer.state.global_step)
    trainer.log(metrics)
    trainer.control = trainer.callback_handler.on_evaluate(
        trainer.args, trainer.state, trainer.control, metrics
    )
    return metrics


class Reporting(TrainerCallback):
    """Sends the trainer's numbers to the stage's run.

    `names` says what the trainer's numbers are called here; others are not kept.
    """

    def __init__(self, run: StageRun, names: Mapping[str, str] = NAMES) -> None:
        self.run = run
        self.names = names

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        for entry in state.log_history:  # of an attempt that died: the new run shows the whole curve
            self._send(entry, entry["step"])

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self._send(logs or {}, state.global_step)
        loss = (logs or {}).get("loss")
        if loss is not None:
            require_finite("training", loss, state.global_step)
            self.run.progress(state.global_step, state.max_steps, "steps", self.told(logs or {}))
            if control.should_evaluate:
                self.run.phase("evaluating")

    def told(self, logs: Mapping[str, float]) -> str:
        """What a person is told of a step."""
        return f"loss {logs['loss']:.3f}"

    def _send(self, entry: dict[str, float], step: int) -> None:
        numbers = {
            mlflow_name(self.names[name]): value for name, value in entry.items() if name in self.names
        }
        self.run.log_metrics(numbers, step)


@dataclass(frozen=True)
class History:
    """What a trainer logged, under our names: an entry a step or evaluation."""

    entries: list[dict[str, float]]

    @classmethod
    def of(cls, trainer: Trainer, names: Mapping[str, str] = NAMES) -> "History":
        return cls(
            [  # in the order of the names: a resumed trainer has its own
                {
                    "step": entry["step"],
                    **{ours: entry[name] for name, ours in names.items() if name in entry},
                }
                for entry in trainer.state.log_history
                if not names.keys().isdisjoint(entry)
            ]
        )

    def line(self, name: str) -> list[tuple[int, float]]:
        return [(int(entry["step"]), entry[name]) for entry in self.entries if name in entry]

    def at(self, step: int | None, name: str) -> float | None:
        """The value of the step, or of the last one that has it when there is no step."""
        values = [value for place, value in self.line(name) if step is None or place == step]
        return values[-1] if values else None

    def lowest(self) -> int | None:
        """The step of the lowest validation loss."""
        return min(self.line("validation_loss"), key=lambda point: point[1], default=(None, None))[0]

    def best(self) -> int | None:
        """The step that the kept weights have: of the highest score, where there is one, else `lowest`."""
        scores = self.line("validation_score")
        return max(scores, key=lambda point: point[1])[0] if scores else self.lowest()


def write_result(
    run: StageRun, history: History, title: str, steps: int, summary: Callable[..., JsonFile]
) -> None:
    """Write `history.jsonl`, `summary.json`, and the picture of the losses.

    `summary` makes one of `steps`, `train_loss`, and of the kept weights `best_step`, `best_validation_loss`
    and `best_validation_score`; beside these `lowest_loss_step`, where that is another step.
    """
    write_history(run.out, history.entries)
    best, lowest = history.best(), history.lowest()
    kept = {name: history.at(best, name) if best is not None else None for name in KEPT}
    whole = summary(
        steps=steps,
        train_loss=history.at(None, "train_loss"),
        best_step=best,
        **{f"best_{name}": value for name, value in kept.items() if value is not None or name == KEPT[0]},
        **({"lowest_loss_step": lowest} if lowest != best else {}),
    )
    if lowest != best:
        run.say(
            f"kept step {best}, whose responses score best ({kept[KEPT[1]]:.1f}); the validation loss is "
            f"lowest at step {lowest}"
        )
    whole.write(run.out)
    numbers = {
        name: value
        for name, value in whole.as_json().items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "train_loss"
    }
    run.log_metrics(numbers)
    lines = {name: history.line(f"{name}_loss") for name in ("train", "validation")}
    draw_losses(run.auxiliary / "loss.png", title, "steps", lines)
