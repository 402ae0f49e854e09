"""Direct preference optimization (DPO) with TRL: the fine-tuned model learns what is preferred to what."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer

from tasks.batches.supervised import tell_conversations, tell_cuts
from tasks.batches.tuning import PreferenceData, preference_data
from tasks.compat.training import AlreadyTokenized
from tasks.config import DpoConfig
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.outputs import DpoSummary
from tasks.finetune.pairs import PairMeans
from tasks.finetune.resuming import train
from tasks.finetune.scored import ValidationScore, told, validation_score
from tasks.finetune.training import (
    NAMES,
    History,
    Reporting,
    evaluated,
    training_arguments,
    write_result,
)
from tasks.machine.device import pick_device
from tasks.models.adapters import add_lora, count_parameters, load_to_tune, write_model
from tasks.models.architectures import longest
from tasks.models.kinds import require_causal
from tasks.models.loading import load_tokenizer, retired_names
from tasks.preflight.tuning import preflight_preferences
from tasks.record.stage import StageRun

MARGIN, ACCURACY = "reward_margin", "reward_accuracy"
REWARDS = {"rewards/margins": MARGIN, "rewards/accuracies": ACCURACY}
LOGGED = NAMES | REWARDS | {f"eval_{name}": f"validation_{ours}" for name, ours in REWARDS.items()}


def dpo(config: DpoConfig, run: StageRun, *, tuned: Path, rows: Path) -> None:
    """Train `tuned/model` to prefer the chosen to the rejected completions of the train split of `rows`.

    Writes `model/` with the weights that `config.keep_by` says, `history.jsonl`, `summary.json`. Raises
    StageError for rows without a preference, for a prompt that leaves no room and for a loss that is not a
    number, RefusedError when a check of the preflight fails.
    """
    run_training(prefer, config, run, tuned=tuned, rows=rows)


@retired_names()
def prefer(config: DpoConfig, run: StageRun, part: ProcessRole, *, tuned: Path, rows: Path) -> None:
    """As `dpo`, as the part of one process."""
    device = pick_device(config.device)
    tokenizer = load_tokenizer(tuned / "model")
    run.phase("loading the fine-tuned model")
    require_causal(tuned / "model", "dpo")
    model = load_to_tune(config, tuned / "model", device)
    run.phase("tokenizing the pairs")
    data = preference_data(config, tokenizer, rows, longest(model))
    tell_cuts(run.say, data.every_example, data.max_length, "completions")
    tell_conversations(run.say, data.rows["train"])
    trainer = _trainer(config, run, model, data, device)
    part.require(
        config.preflight,
        lambda: preflight_preferences(trainer.model, data, trainer.compute_loss, run.phase),
    )
    train(trainer, run, config, part)
    if part.is_first:
        _write(config, run, trainer, data, tuned)
    trainer.accelerator.end_training()


def _write(
    config: DpoConfig, run: StageRun, trainer: "_PairMeanTrainer", data: PreferenceData, tuned: Path
) -> None:
    run.phase("writing the model")
    write_model(
        config, trainer.model, data.template.export(data.tokenizer), tuned / "model", run.out / "model"
    )
    history = History.of(trainer, LOGGED)
    best_step = history.best()
    rewards = {name: history.at(None, name) for name in (MARGIN, ACCURACY)}
    validated = {f"validation_{name}": history.at(best_step, f"validation_{name}") for name in rewards}
    summary = partial(
        DpoSummary,
        method="dpo",
        template=data.template.name,
        beta=config.beta,
        tune=config.tune,
        **count_parameters(trainer.model),
        pairs=len(data.rows["train"]),
        completions_cut=sum(example.cut for example in data.examples["train"]),
        **rewards,
        **validated,
        **told(trainer.score),
    )
    write_result(run, history, "Preferences", trainer.state.global_step, summary)


def _trainer(
    config: DpoConfig, run: StageRun, model: PreTrainedModel, data: PreferenceData, device: torch.device
) -> "_PairMeanTrainer":
    arguments = training_arguments(
        DPOConfig,
        config,
        run,
        examples=len(data.datasets["train"]),
        validated="validation" in data.datasets,
        device=device,
        keep_by=config.keep_by,
        beta=config.beta,
        max_length=None,  # completions are already cut
        disable_dropout=True,
    )
    trainer = _PairMeanTrainer(
        ref_model=reference_of(config, model),
        model=add_lora(config, model),
        args=arguments,
        data_collator=data.collator,
        train_dataset=data.datasets["train"],
        eval_dataset=data.datasets.get("validation"),
        processing_class=data.tokenizer,
        callbacks=[Reporting(run, LOGGED)],
    )
    trainer.score = validation_score(config, data)
    return trainer


def reference_of(config: DpoConfig, model: PreTrainedModel) -> PreTrainedModel | None:
    """What the model is held to: a copy of it as it is; with adapters, itself without them."""
    return None if config.tune == "lora" else copy.deepcopy(model)


class _PairMeanTrainer(AlreadyTokenized, PairMeans, DPOTrainer):
    """Means over the pairs of a whole step and of all evaluation."""

    measured = REWARDS
    score: ValidationScore | None = None
    """What weights are kept by, where that is not their loss."""

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = self.pair_metrics()
        if self.score:
            metrics["eval_score"] = self.score.of(self.model, self.stop_evaluating)
        return evaluated(self, metrics)

    def ahead(self, batch: dict[str, Tensor]) -> Tensor:
        """How much more the chosen gained on the reference than the rejected, times beta."""
        chosen, rejected = (completion_log_probs(self.model, batch) - self._reference(batch)).chunk(2)
        return self.beta * (chosen - rejected)

    def _reference(self, inputs: dict[str, Tensor]) -> Tensor:
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                return completion_log_probs(self.model, inputs)
        return completion_log_probs(self.ref_model, inputs)


def completion_log_probs(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The log-probability of each sequence's completion, in nats: (sequences,)."""
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits[:, :-1]
    tokens, learned = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:]
    taken = logits.float().log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
    return (taken * learned).sum(dim=1)
