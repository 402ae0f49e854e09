"""Classification: a head on the base model, trained on labelled texts and measured against simpler ways."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, Trainer, TrainingArguments

from tasks.batches.evaluation import predict
from tasks.batches.labelled import Labelled, classifying_tokenizer, labelled_texts, labels_in, read_labelled
from tasks.batches.supervised import tell_cuts
from tasks.config import ClassifyConfig
from tasks.data.token_files import pretrained_on
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.findings import write_findings
from tasks.finetune.outputs import ClassifySummary
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
from tasks.models.classifier import load_classifier, new_classifier, with_trained_weights
from tasks.models.summary import CLASSIFICATION
from tasks.preflight.classification import preflight_classification
from tasks.record.stage import StageRun
from tasks.rows import load_groups

LOGGED = NAMES | {"eval_accuracy": "validation_accuracy"}


def classify(
    config: ClassifyConfig, run: StageRun, *, base: Path, rows: Path, tokens: Path | None = None
) -> None:
    """Train `base/model` with a new head on the train split of `rows`, and measure it on all three splits.

    Writes `model/` (the checkpoint with the lowest validation loss), `history.jsonl`, `summary.json`,
    `evaluation.json` with the baselines, `predictions.jsonl`, and `scores.json` and `scores.jsonl` of the
    test rows as the judge writes them. `tokens` is what the base model was pretrained on, which must hold no
    tested row; none of an imported one. Raises StageError for rows that cannot be classified, a base that
    cannot be made a classifier, and a loss that is not a number; RefusedError when a check of the preflight
    fails.
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
    tokenizer = classifying_tokenizer(base / "model")
    found = read_labelled(rows)
    run.phase("loading the base model")
    model = new_classifier(base / "model", labels_in(found), tokenizer, config.seed)
    run.phase("tokenizing the texts")
    data = labelled_texts(config, tokenizer, found, longest(model), load_groups(rows))
    tell_cuts(run.say, data.every_text, data.max_length, "texts")
    model = with_trained_weights(config, model)
    counted = count_parameters(model)
    trainer = make_trainer(config, run, model, data, device)
    part.require(
        config.preflight,
        lambda: preflight_classification(
            config, trainer.model, data, mean_loss, run.phase, pretrained_on(tokens)
        ),
    )
    train(trainer, run, config, part)
    if part.is_first:
        _write(config, run, trainer, data, counted)
    trainer.accelerator.end_training()


def _write(
    config: ClassifyConfig, run: StageRun, trainer: Trainer, data: Labelled, counted: dict[str, int]
) -> None:
    run.phase("writing the model")
    _write_model(trainer.model, data, run.out / "model")
    summary = partial(
        ClassifySummary,
        task=CLASSIFICATION,
        labels=list(data.labels),
        tune=config.tune,
        **counted,
        supervised_rows=len(data.texts["train"]),
        rows_cut=sum(text.lost > 0 for text in data.texts["train"]),
    )
    history = History.of(trainer, LOGGED)
    write_result(run, history, "Classification", trainer.state.global_step, summary)
    run.phase("classifying all rows, and by the baselines")
    write_findings(run, load_classifier(run.out / "model").to(trainer.args.device), data)


def make_trainer(
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
        compute_loss_func=mean_loss,
        callbacks=[Reporting(run, LOGGED)],
    )
    trainer.model_accepts_loss_kwargs = False  # mean_loss is told the rows of the step; the model need not be
    trainer.labelled = data
    return trainer


def mean_loss(output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy in nats, the mean over the rows of the whole optimizer step, of however many batches."""
    total = F.cross_entropy(output.logits.float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class _RowMeanTrainer(Resumable):
    """Evaluates by the mean over rows; the parent's mean of batch means weighs short batches too much."""

    labelled: Labelled

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        found = predict(self.model, self.labelled, self.eval_dataset, self.heeding, self._together)
        return evaluated(self, {"eval_loss": found.loss, "eval_accuracy": found.accuracy})

    def _together(self, logits: Tensor) -> Tensor:
        """The logits of the texts that any process has classified; zero where this one has none."""
        return self.accelerator.reduce(logits.to(self.args.device), "sum").cpu()


def _write_model(model: PreTrainedModel | PeftModel, data: Labelled, folder: Path) -> None:
    """The whole model, adapters merged into it, and the tokenizer that gives texts the tokens it knows."""
    whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
    whole.to("cpu").save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)
