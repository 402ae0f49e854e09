"""Supervised fine-tuning (SFT) with TRL, on completions or on everything, resumed where it died.

An encoder-decoder is trained in seq2seq.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from tasks.batches.supervised import tell_cuts, tell_replies
from tasks.batches.tuning import PLACE, Examples, TuningData, sft_data
from tasks.config import FinetuneConfig
from tasks.data.token_files import IGNORED, pretrained_on
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.outputs import SftSummary
from tasks.finetune.resuming import Resumable, train
from tasks.finetune.scored import ValidationScore, told, validation_score
from tasks.finetune.seq2seq import tune_seq2seq
from tasks.finetune.sharing import ungathered
from tasks.finetune.training import (
    NAMES,
    History,
    Reporting,
    evaluated,
    token_sums,
    training_arguments,
    write_result,
)
from tasks.machine.device import pick_device
from tasks.models.adapters import add_lora, count_parameters, load_to_tune, write_model
from tasks.models.architectures import longest, require_positions
from tasks.models.kernels import summed_loss
from tasks.models.kinds import is_seq2seq
from tasks.models.loading import load_tokenizer, use_fused_gelu
from tasks.models.summary import SOURCE_LOSS
from tasks.preflight.tuning import preflight_finetuning
from tasks.record.stage import StageRun

EVALUATED = "eval_loss/"  # how the trainer's name of the loss on one source begins
LOGITS = 2**27  # of a batch, half a gigabyte in float32: from there on TRL's tiles are worth their time


def finetune(
    config: FinetuneConfig, run: StageRun, *, base: Path, rows: Path, tokens: Path | None = None
) -> None:
    """Train `base/model` on the train split of `rows`; write `model/`, `history.jsonl`, `summary.json`.

    `tokens` is what the base model was pretrained on, which must hold no tested row; none of an imported one.
    `model/` has the weights that `config.keep_by` says, by default those with the lowest validation loss, and
    a tokenizer that carries the template.
    Raises StageError for a row whose prompt leaves no room for its completion and for a loss that is not a
    number, RefusedError when a check of the preflight fails.
    """
    run_training(tune, config, run, base=base, rows=rows, tokens=tokens)


def tune(
    config: FinetuneConfig,
    run: StageRun,
    part: ProcessRole,
    *,
    base: Path,
    rows: Path,
    tokens: Path | None = None,
) -> None:
    """As `finetune`, as the part of one process."""
    if is_seq2seq(base / "model"):
        tune_seq2seq(config, run, part, base=base, rows=rows, tokens=tokens)
        return
    device = pick_device(config.device)
    tokenizer = load_tokenizer(base / "model")
    run.phase("loading the base model")
    model = load_to_tune(config, base / "model", device)
    if config.packing:
        require_positions(model, "Set finetune.packing=false")
    run.phase("tokenizing the rows")
    data = sft_data(config, tokenizer, rows, longest(model))
    tell_cuts(run.say, data.every_example, data.max_length, "rows")
    tell_replies(run.say, data.every_example)
    trainer = _trainer(config, run, add_lora(config, use_fused_gelu(model)), data, device)
    held = _held(data, trainer)
    part.require(
        config.preflight,
        lambda: preflight_finetuning(
            trainer.model, held, trainer.compute_loss, run.phase, pretrained_on(tokens)
        ),
    )
    train(trainer, run, config, part)
    if part.is_first:
        _write(config, run, trainer, data, base)
    trainer.accelerator.end_training()


def _write(config: FinetuneConfig, run: StageRun, trainer: SFTTrainer, data: TuningData, base: Path) -> None:
    run.phase("writing the model")
    write_model(
        config, trainer.model, data.template.export(data.tokenizer), base / "model", run.out / "model"
    )
    history = History.of(trainer, logged(data))
    best, examples = history.best(), data.examples["train"]
    losses = {name: history.at(best, f"{SOURCE_LOSS}{name}") for name in data.by_source if name}
    summary = partial(
        SftSummary,
        method="sft",
        template=data.template.name,
        loss=config.loss,
        packing=config.packing,
        tune=config.tune,
        **count_parameters(trainer.model),
        sequences=len(data.datasets["train"]),
        supervised_tokens=sum(label != IGNORED for example in examples for label in example.labels),
        rows_cut=sum(example.cut for example in examples),
        source_losses=losses or None,
        **told(trainer.score),
    )
    write_result(run, history, "Fine-tuning", trainer.state.global_step, summary)


def logged(data: TuningData) -> dict[str, str]:
    """What the numbers of a training are called here, the losses on the sources of its rows among them."""
    return NAMES | {f"{EVALUATED}{name}": f"{SOURCE_LOSS}{name}" for name in data.by_source if name}


def _held(data: TuningData, trainer: SFTTrainer) -> TuningData:
    """The data as the trainer holds it, which may have made something else of it."""
    held = {"train": trainer.train_dataset, "validation": trainer.eval_dataset}
    datasets = {split: dataset for split, dataset in held.items() if dataset is not None}
    return replace(data, datasets=datasets, collator=trainer.data_collator)


def _trainer(
    config: FinetuneConfig,
    run: StageRun,
    model: PreTrainedModel,
    data: TuningData,
    device: torch.device,
) -> SFTTrainer:
    arguments = training_arguments(
        SFTConfig,
        config,
        run,
        examples=len(data.datasets["train"]),
        validated="validation" in data.datasets,
        device=device,
        keep_by=config.keep_by,
        max_length=None,  # rows are already cut
        packing=False,  # they are packed already too
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    trainer = TokenMeanTrainer(
        model=model,
        args=arguments,
        data_collator=data.collator,
        train_dataset=data.datasets["train"],
        eval_dataset=data.datasets.get("validation"),
        processing_class=data.tokenizer,
        callbacks=[Reporting(run, logged(data))],
    )
    trainer.score = validation_score(config, data)
    trainer.validation = data.by_source or {"": trainer.eval_dataset}
    return trainer


class TokenMeanTrainer(Resumable, SFTTrainer):
    """Evaluates by the mean over tokens; the parent's mean of batch means weighs short batches too much."""

    score: ValidationScore | None = None
    """What weights are kept by, where that is not their loss."""
    validation: Mapping[str, Examples]
    """What is evaluated: the parts of mixed sources, by their names; else all under an empty one."""

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        inputs = _for_model(inputs)
        supervised = int((inputs["labels"][:, 1:] != IGNORED).sum())
        if return_outputs or supervised * self.model.config.get_text_config().vocab_size > LOGITS:
            with ungathered(self.accelerator):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        head = self.model.get_output_embeddings()
        loss = supervised_loss(model, head, inputs) / (num_items_in_batch or max(1, supervised))
        several = self.args.average_tokens_across_devices and num_items_in_batch is not None
        return loss * self.accelerator.num_processes if several else loss  # which averages the gradients

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        sums = {name: self._losses_of(rows) for name, rows in self.validation.items()}
        total, tokens = (sum(numbers) for numbers in zip(*sums.values(), strict=True))
        metrics = {"eval_loss": total / tokens}
        metrics |= {f"{EVALUATED}{name}": own / count for name, (own, count) in sums.items() if name}
        if self.score:
            metrics["eval_score"] = self.score.of(self.model, self.stop_evaluating)
        return evaluated(self, metrics)

    def _losses_of(self, rows: Examples) -> tuple[float, float]:
        batches = self.heeding(self.get_eval_dataloader(rows))
        return completion_losses(self.model, batches, self.args.device, self.sum_over)


def supervised_loss(model: nn.Module, head: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The summed loss in nats of the supervised tokens of a batch, whose logits alone are computed.

    `head` is the model's, which gives logits; the model may be wrapped.

    TRL's own loss computes logits in tiles, and once more for the gradients: that saves memory where they are
    many, and doubles the time of a small model's step.
    """
    labels = batch["labels"][:, 1:]
    supervised = labels != IGNORED
    only = head.register_forward_pre_hook(lambda _head, given: (given[0][:, :-1][supervised],))
    try:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        logits = model(**inputs, use_cache=False).logits
    finally:
        only.remove()
    return F.cross_entropy(logits.float(), labels[supervised], reduction="sum")


def _for_model(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in batch.items() if name != PLACE}


def completion_losses(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Any]],
    device: torch.device,
    sum_over: Callable[[float], float] = float,
) -> tuple[float, float]:
    """As `token_sums`, of completions."""

    def summed(batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        inputs = {name: tensor.to(device) for name, tensor in _for_model(batch).items()}
        labels = inputs.pop("labels")[:, 1:]
        logits = model(**inputs, use_cache=False).logits[:, :-1]
        return summed_loss(logits, labels), (labels != IGNORED).sum()

    return token_sums(model, batches, summed, sum_over)
