"""Supervised fine-tuning of an encoder-decoder with Transformers' trainer, resumed where it died."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel, Seq2SeqTrainer, Seq2SeqTrainingArguments

from tasks.batches.seq2seq import Seq2SeqData, seq2seq_data
from tasks.batches.supervised import tell_cuts
from tasks.config import FinetuneConfig
from tasks.data.token_files import IGNORED, pretrained_on
from tasks.distributed.part import ProcessRole
from tasks.errors import UsageError
from tasks.finetune.outputs import SftSummary
from tasks.finetune.resuming import Resumable, train
from tasks.finetune.training import (
    History,
    Reporting,
    evaluated,
    token_sums,
    training_arguments,
    write_result,
)
from tasks.machine.device import pick_device
from tasks.models.adapters import add_lora, count_parameters, load_to_tune, write_model
from tasks.models.architectures import longest
from tasks.models.loading import load_tokenizer, use_fused_gelu
from tasks.models.seq2seq import target_logits
from tasks.preflight.seq2seq import preflight_seq2seq
from tasks.record.stage import StageRun


def tune_seq2seq(
    config: FinetuneConfig,
    run: StageRun,
    part: ProcessRole,
    *,
    base: Path,
    rows: Path,
    tokens: Path | None = None,
) -> None:
    """As `finetune`, of the encoder-decoder in `base/model`, as the part of one process."""
    if config.keep_by != "loss":
        raise UsageError(
            f"finetune.keep_by is {config.keep_by}, and the weights of an encoder-decoder are kept by "
            "their loss alone; leave keep_by out"
        )
    device = pick_device(config.device)
    tokenizer = load_tokenizer(base / "model")
    run.phase("loading the base model")
    model = load_to_tune(config, base / "model", device)
    run.phase("tokenizing the rows")
    data = seq2seq_data(config, tokenizer, rows, longest(model))
    tell_cuts(run.say, data.every_pair, data.max_length, "targets")
    adapted = add_lora(config, use_fused_gelu(model), TaskType.SEQ_2_SEQ_LM)
    trainer = _trainer(config, run, adapted, data, device)
    part.require(
        config.preflight,
        lambda: preflight_seq2seq(
            trainer.model, data, trainer.compute_loss, run.phase, pretrained_on(tokens)
        ),
    )
    train(trainer, run, config, part)
    if part.is_first:
        _write(config, run, trainer, data, base)
    trainer.accelerator.end_training()


def _write(
    config: FinetuneConfig, run: StageRun, trainer: Seq2SeqTrainer, data: Seq2SeqData, base: Path
) -> None:
    run.phase("writing the model")
    tokenizer = data.template.template.export(data.tokenizer)
    write_model(config, trainer.model, tokenizer, base / "model", run.out / "model")
    pairs = data.pairs["train"]
    summary = partial(
        SftSummary,
        method="sft",
        template=data.template.template.name,
        loss=config.loss,
        packing=config.packing,
        tune=config.tune,
        **count_parameters(trainer.model),
        sequences=len(pairs),
        supervised_tokens=sum(len(pair.target) for pair in pairs),
        rows_cut=sum(pair.cut for pair in pairs),
    )
    write_result(run, History.of(trainer), "Fine-tuning", trainer.state.global_step, summary)


def _trainer(
    config: FinetuneConfig, run: StageRun, model: PreTrainedModel, data: Seq2SeqData, device: torch.device
) -> "TargetMeanTrainer":
    arguments = training_arguments(
        Seq2SeqTrainingArguments,
        config,
        run,
        examples=len(data.datasets["train"]),
        validated="validation" in data.datasets,
        device=device,
        remove_unused_columns=False,
    )
    return TargetMeanTrainer(
        model=model,
        args=arguments,
        data_collator=data.collator,
        train_dataset=data.datasets["train"],
        eval_dataset=data.datasets.get("validation"),
        processing_class=data.tokenizer,
        callbacks=[Reporting(run)],
    )


class TargetMeanTrainer(Resumable, Seq2SeqTrainer):
    """Minimises the mean loss over the tokens of all targets of a step, and evaluates by the same mean.

    The parent's is the mean of the micro-batches' means, in which a short target's tokens weigh more.
    """

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002 - the parent's signature; nothing here asks for them
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        loss = summed_target_loss(model, self.model, inputs)
        supervised = int((inputs["labels"] != IGNORED).sum())
        loss = loss / (num_items_in_batch or max(1, supervised))
        several = self.args.average_tokens_across_devices and num_items_in_batch is not None
        return loss * self.accelerator.num_processes if several else loss  # which averages the gradients

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        batches = self.heeding(self.get_eval_dataloader())
        loss = target_loss(self.model, batches, self.args.device, self.sum_over)
        return evaluated(self, {"eval_loss": loss})


def summed_target_loss(model: nn.Module, own: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The summed loss of a batch's targets in nats; `model` is `own`, or what wraps it."""
    logits = target_logits(model, own, batch)
    return F.cross_entropy(
        logits.float().flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def target_loss(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Any]],
    device: torch.device,
    sum_over: Callable[[float], float] = float,
) -> float:
    """The mean loss over the target tokens of all batches, in nats; `sum_over` as of `token_sums`."""

    def summed(batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        inputs = {name: tensor.to(device) for name, tensor in batch.items()}
        return summed_target_loss(model, model, inputs), (inputs["labels"] != IGNORED).sum()

    total, tokens = token_sums(model, batches, summed, sum_over)
    return total / tokens
