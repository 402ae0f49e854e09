"""Supervised fine-tuning with TRL, the loss on completions only, resumed where it died."""

import json
import math
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from tasks.config import FinetuneConfig
from tasks.curves import draw_losses
from tasks.device import pick_device
from tasks.errors import StageError
from tasks.finetune.data import TuningData, tuning_data
from tasks.gpt import summed_loss
from tasks.manifest import canonical_json, files_under, write_atomically
from tasks.models import load_model
from tasks.preflight import require
from tasks.preflight.tuning import preflight_finetuning
from tasks.pretrain.models import longest
from tasks.record import StageRun
from tasks.tokens import IGNORED

COMPLETE = (
    "complete.json"  # sizes of a checkpoint's files, written last: without it the folder is half-written
)


def finetune(config: FinetuneConfig, run: StageRun, *, base: Path, rows: Path) -> None:
    """Train `base/model` on the train split of `rows`; write `model/`, `history.jsonl`, `summary.json`.

    `model/` is the checkpoint with the lowest validation loss. Raises StageError for a row whose prompt
    leaves no room for its completion and for a loss that is not a number, RefusedError when a proof of the
    preflight fails.
    """
    device = pick_device(config.device)
    model, tokenizer = load_model(base / "model")
    data = tuning_data(config, tokenizer, rows, longest(model))
    trainer = _make_trainer(config, run, model, data, device)
    held = {"train": trainer.train_dataset, "validation": trainer.eval_dataset}
    proved = replace(
        data,
        datasets={split: dataset for split, dataset in held.items() if dataset is not None},
        collator=trainer.data_collator,
    )
    require(run, config.preflight, lambda: preflight_finetuning(trainer.model, proved, trainer.compute_loss))
    checkpoint = _newest_complete(run.checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _write(run, trainer, data)


def _make_trainer(
    config: FinetuneConfig,
    run: StageRun,
    model: PreTrainedModel,
    data: TuningData,
    device: torch.device,
) -> SFTTrainer:
    batches = math.ceil(len(data.examples["train"]) / config.batch_size)
    steps = math.ceil(math.ceil(batches / config.accumulation) * config.epochs)  # an epoch ends with a step
    validated = "validation" in data.datasets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TRL's own defaults set a name Transformers retires
        arguments = _arguments(config, run, steps, validated, device)
    trainer = _TokenMeanTrainer(
        model=model,
        args=arguments,
        data_collator=data.collator,
        train_dataset=data.datasets["train"],
        eval_dataset=data.datasets.get("validation"),
        processing_class=data.tokenizer,
        callbacks=[_Reporting(run)],
    )
    trainer.remove_callback(PrinterCallback)  # standard output belongs to --json
    return trainer


def _arguments(
    config: FinetuneConfig, run: StageRun, steps: int, validated: bool, device: torch.device
) -> SFTConfig:
    every = max(1, math.ceil(steps / config.evaluations))
    return SFTConfig(
        output_dir=str(run.checkpoint),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        bf16=config.precision == "bfloat16",
        use_cpu=device.type == "cpu",
        seed=config.seed,
        data_seed=config.seed,
        max_length=None,  # rows are already cut, with their end token kept
        packing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=validated,
        metric_for_best_model="eval_loss" if validated else None,
        greater_is_better=False if validated else None,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        gradient_checkpointing=False,  # TRL turns it on: a third more compute for memory that is not short
        report_to=[],
        disable_tqdm=True,
    )


class _TokenMeanTrainer(SFTTrainer):
    """Evaluates by the mean over tokens; the parent's mean of batch means weighs short batches too much."""

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        loss = completion_loss(self.model, self.get_eval_dataloader(), self.args.device)
        _require_finite("validation", loss, self.state.global_step)
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


@torch.no_grad()
def completion_loss(model: PreTrainedModel, batches: DataLoader, device: torch.device) -> float:
    """Mean loss over every supervised token of all batches, in nats."""
    was_training = model.training
    model.eval()
    total, supervised = 0.0, 0
    for batch in batches:
        labels = batch["labels"].to(device)[:, 1:]
        logits = model(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device)
        ).logits[:, :-1]
        total += summed_loss(logits, labels).item()
        supervised += int((labels != IGNORED).sum())
    model.train(was_training)
    return total / supervised


def _require_finite(name: str, loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise StageError(f"the {name} loss became {loss} at step {step}. Lower finetune.learning_rate")


class _Reporting(TrainerCallback):
    """Sends the trainer's numbers to the stage's run, and marks checkpoints that are whole."""

    def __init__(self, run: StageRun) -> None:
        self.run = run

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        for entry in state.log_history:  # of an attempt that died: the new run shows the whole curve
            self._send(entry, entry["step"])

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self._send(logs or {}, state.global_step)
        loss = (logs or {}).get("loss")
        if loss is not None:
            _require_finite("training", loss, state.global_step)
            self.run.progress(state.global_step, state.max_steps, "steps", f"loss {loss:.3f}")

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sizes = {name: (folder / name).stat().st_size for name in files_under(folder)}
        write_atomically(folder / COMPLETE, canonical_json(sizes))

    def _send(self, entry: dict[str, float], step: int) -> None:
        self.run.log_metrics({NAMES[name]: value for name, value in entry.items() if name in NAMES}, step)


NAMES = {
    "loss": "train_loss",
    "eval_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}


def _newest_complete(folder: Path) -> Path | None:
    """The last whole checkpoint of an earlier attempt; half-written and half-removed ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in checkpoints:
        if not _is_whole(path):
            shutil.rmtree(path)
    return next((path for path in reversed(checkpoints) if path.exists()), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_bytes())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:
        return False


def _write(run: StageRun, trainer: SFTTrainer, data: TuningData) -> None:
    trainer.model.to("cpu").save_pretrained(run.out / "model")
    data.tokenizer.save_pretrained(run.out / "model")
    history = [  # in the order of NAMES: a resumed trainer has its own
        {"step": entry["step"], **{ours: entry[name] for name, ours in NAMES.items() if name in entry}}
        for entry in trainer.state.log_history
        if not NAMES.keys().isdisjoint(entry)
    ]
    with (run.out / "history.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in history)
    train, validation = (
        [(entry["step"], entry[name]) for entry in history if name in entry]
        for name in ("train_loss", "validation_loss")
    )
    best_step, best_loss = min(validation, key=lambda point: point[1], default=(None, None))
    summary = {
        "template": data.template.name,
        "steps": trainer.state.global_step,
        "supervised_tokens": sum(label != IGNORED for e in data.examples["train"] for label in e.labels),
        "rows_cut": sum(e.cut for e in data.examples["train"]),
        "train_loss": train[-1][1],
        "best_step": best_step,
        "best_validation_loss": best_loss,
    }
    (run.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    numbers = {name: summary[name] for name in ("steps", "supervised_tokens", "rows_cut")}
    if best_loss is not None:
        numbers |= {"best_step": best_step, "best_validation_loss": best_loss}
    run.log_metrics(numbers, trainer.state.global_step)
    draw_losses(run.aside / "loss.png", "Fine-tuning", "steps", {"train": train, "validation": validation})
