"""Classification: a head on the base model, trained on labelled rows and measured against simpler ways.

What is asked of a text is said by the kind of the rows (`tasks/classify/tasks.py`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainingArguments

from tasks.batches.labelled import Labelled
from tasks.batches.supervised import tell_cuts
from tasks.classify.findings import write_findings
from tasks.classify.outputs import ClassifySummary
from tasks.classify.task import ClassifyTask
from tasks.classify.tasks import task_of
from tasks.config import ClassifyConfig
from tasks.data.token_files import pretrained_on
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.resuming import Resumable, train
from tasks.finetune.training import (
    NAMES,
    History,
    Reporting,
    evaluated,
    training_arguments,
    write_result,
)
from tasks.machine.device import pick_device
from tasks.models.adapters import count_parameters
from tasks.models.architectures import longest
from tasks.models.classifier import with_trained_weights
from tasks.models.summary import CLASSIFICATION
from tasks.record.stage import StageRun
from tasks.rows import load_groups
from tasks.rows.kinds import kind_in


def classify(
    config: ClassifyConfig, run: StageRun, *, base: Path, rows: Path, tokens: Path | None = None
) -> None:
    """Train `base/model` with a new head on the train split of `rows`, and measure it on all three splits.

    Writes `model/` (the checkpoint with the lowest validation loss), `history.jsonl`, `summary.json`,
    `evaluation.json` with the baselines, `predictions.jsonl`, and `scores.json` and `scores.jsonl` of the
    test rows as the judge writes them. `tokens` is what the base model was pretrained on, which must hold no
    tested row; none of an imported one. Without `config.measure_test` no row is classified once the model is
    trained, and the last four files are left out. Raises StageError for rows that cannot be classified, a
    base that cannot be made a classifier, and a loss that is not a number; RefusedError when a check of the
    preflight fails.
    """
    run_training(learn_labels, config, run, base=base, rows=rows, tokens=tokens)


def learn_labels(
    config: ClassifyConfig,
    run: StageRun,
    part: ProcessRole,
    *,
    base: Path,
    rows: Path,
    tokens: Path | None = None,
) -> None:
    """As `classify`, as the part of one process."""
    device = pick_device(config.device)
    task = task_of(kind_in(rows) or CLASSIFICATION)
    tokenizer = task.tokenizer(base / "model")
    found = task.read(rows)
    run.phase("loading the base model")
    model = task.new_model(base / "model", task.labels(found), tokenizer, config.seed)
    run.phase("tokenizing the texts")
    data = task.data(config, tokenizer, found, longest(model), load_groups(rows))
    tell_cuts(run.say, data.every_text, data.max_length, "texts")
    model = with_trained_weights(config, model, task.head)
    counted = count_parameters(model)
    trainer = make_trainer(task, config, run, model, data, device)
    part.require(
        config.preflight,
        lambda: task.preflight(config, trainer.model, data, run.phase, pretrained_on(tokens)),
    )
    train(trainer, run, config, part)
    if part.is_first:
        _write(task, config, run, trainer, data, counted)
    trainer.accelerator.end_training()


def _write(
    task: ClassifyTask,
    config: ClassifyConfig,
    run: StageRun,
    trainer: Trainer,
    data: Labelled,
    counted: dict[str, int],
) -> None:
    run.phase("writing the model")
    _write_model(trainer.model, data, run.out / "model")
    summary = partial(
        ClassifySummary,
        task=task.name,
        labels=list(data.labels),
        tune=config.tune,
        **counted,
        supervised_rows=len(data.rows["train"]),
        rows_cut=sum(text.lost > 0 for text in data.texts["train"]),
        measured_test=config.measure_test,
    )
    history = History.of(trainer, NAMES | task.logged)
    write_result(run, history, "Classification", trainer.state.global_step, summary)
    if config.measure_test:
        run.phase("classifying all rows, and by the baselines")
        write_findings(task, run, task.load(run.out / "model").to(trainer.args.device), data)


def make_trainer(
    task: ClassifyTask,
    config: ClassifyConfig,
    run: StageRun,
    model: PreTrainedModel | PeftModel,
    data: Labelled,
    device: torch.device,
) -> Trainer:
    """The trainer, its model on the device that trains."""
    validated = bool(data.texts["validation"])
    arguments = training_arguments(
        TrainingArguments,
        config,
        run,
        examples=len(data.texts["train"]),
        validated=validated,
        device=device,
        remove_unused_columns=False,
    )
    trainer = _RowMeanTrainer(
        model=model,
        args=arguments,
        data_collator=data.collate,
        train_dataset=data.texts["train"],
        eval_dataset=data.texts["validation"] if validated else None,
        compute_loss_func=task.loss,
        callbacks=[Reporting(run, NAMES | task.logged)],
    )
    trainer.model_accepts_loss_kwargs = False  # the loss is told the rows of the step; the model need not be
    trainer.labelled, trainer.task = data, task
    return trainer


class _RowMeanTrainer(Resumable):
    """Evaluates by the mean over rows; the parent's mean of batch means weighs short batches too much."""

    task: ClassifyTask
    labelled: Labelled

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        found = self.task.evaluate(self.model, self.labelled, self.heeding, self._together)
        return evaluated(self, found)

    def _together(self, logits: Tensor) -> Tensor:
        """The logits of the texts that any process has classified; zero where this one has none."""
        return self.accelerator.reduce(logits.to(self.args.device), "sum").cpu()


def _write_model(model: PreTrainedModel | PeftModel, data: Labelled, folder: Path) -> None:
    """The whole model, adapters merged into it, and the tokenizer that gives texts the tokens it knows."""
    whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
    whole.to("cpu").save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)
