"""The stage: a reward model with TRL, from the fine-tuned model and pairs of responses."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl import RewardConfig, RewardTrainer

from tasks.batches.supervised import tell_conversations, tell_cuts
from tasks.compat.training import AlreadyTokenized
from tasks.config import RewardModelConfig
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.pairs import PairMeans
from tasks.finetune.resuming import train
from tasks.finetune.training import (
    NAMES,
    History,
    Reporting,
    evaluated,
    training_arguments,
    write_result,
)
from tasks.machine.device import pick_device
from tasks.models.adapters import add_lora, count_parameters
from tasks.models.architectures import longest
from tasks.models.classifier import heads_of
from tasks.models.kinds import require_causal
from tasks.models.loading import retired_names, use_fused_gelu
from tasks.models.reward import HEAD, RewardModel, new_reward_model
from tasks.record.stage import StageRun
from tasks.reward_models.checks import preflight_rewards
from tasks.reward_models.data import SIDES, PairData, pair_data
from tasks.reward_models.evaluation import evaluate
from tasks.reward_models.outputs import RewardSummary, write_pairs

MARGIN, ACCURACY = "reward_margin", "reward_accuracy"
MEASURED = {"margin": MARGIN, "accuracy": ACCURACY}
LOGGED = NAMES | MEASURED | {f"eval_{name}": f"validation_{ours}" for name, ours in MEASURED.items()}


def reward(config: RewardModelConfig, run: StageRun, *, tuned: Path, rows: Path) -> None:
    """Train `tuned/model` with a head of one number to give the chosen responses of `rows` the greater one.

    Writes `model/` with the lowest validation loss, `history.jsonl`, `summary.json`, and of the test pairs
    `reward.json` and `pairs.jsonl`. Raises StageError for rows without a preference, for a prompt that leaves
    no room and for a loss that is not a number, RefusedError when a check of the preflight fails.
    """
    run_training(learn_rewards, config, run, tuned=tuned, rows=rows)


@retired_names()
def learn_rewards(
    config: RewardModelConfig, run: StageRun, part: ProcessRole, *, tuned: Path, rows: Path
) -> None:
    """As `reward`, as the part of one process."""
    device = pick_device(config.device)
    run.phase("loading the fine-tuned model")
    require_causal(tuned / "model", "reward")
    model, tokenizer = new_reward_model(tuned / "model", config.seed)
    run.phase("tokenizing the pairs")
    data = pair_data(config, tokenizer, rows, longest(model))
    tell_cuts(run.say, data.every_example, data.max_length, "responses")
    tell_conversations(run.say, data.rows["train"])
    trainer = make_trainer(config, run, model, data, device)
    counted = count_parameters(trainer.model)
    part.require(
        config.preflight,
        lambda: preflight_rewards(trainer.model, data, tuned, trainer.compute_loss, run.phase),
    )
    train(trainer, run, config, part)
    _write(config, run, trainer, data, counted)
    trainer.accelerator.end_training()


def _write(
    config: RewardModelConfig,
    run: StageRun,
    trainer: "RewardTraining",
    data: PairData,
    counted: dict[str, int],
) -> None:
    run.phase("writing the model")
    model = trainer.model
    whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
    whole.to("cpu").save_pretrained(run.out / "model")
    data.template.export(data.tokenizer).save_pretrained(run.out / "model")
    history = History.of(trainer, LOGGED)
    numbers = {name: history.at(None, name) for name in MEASURED.values()}
    best_step = history.best()
    numbers |= {f"validation_{name}": history.at(best_step, f"validation_{name}") for name in numbers}
    summary = partial(
        RewardSummary,
        method="reward",
        task="reward",
        template=data.template.name,
        max_length=data.max_length,
        center=config.center,
        tune=config.tune,
        **counted,
        pairs=len(data.rows["train"]),
        responses_cut=sum(
            example.cut for pair in data.pairs["train"] for example in (pair.chosen, pair.rejected)
        ),
        **numbers,
    )
    write_result(run, history, "Reward model", trainer.state.global_step, summary)
    _measure(run, data, trainer.args.device)


def _measure(run: StageRun, data: PairData, device: torch.device) -> None:
    """Rewards of the test pairs by the model as it was written."""
    run.phase("rewards of the test pairs")
    rows, model = data.rows["test"], RewardModel.load(run.out, device)
    chosen, rejected = (model.rewards([row[side] for row in rows], rows) for side in SIDES)
    rewards = list(zip(chosen, rejected, strict=True))
    found = evaluate(rows, rewards, data.rows["train"])
    found.write(run.out)
    write_pairs(
        run.out,
        [
            {"id": row["id"], **dict(zip(SIDES, own, strict=True))}
            for row, own in zip(rows, rewards, strict=True)
        ],
    )
    for warning in found.warnings:
        run.say(warning)
    run.log_metrics(
        {
            f"test_accuracy{end}": found.accuracy[name]
            for name, end in (("mean", ""), ("low", "_low"), ("high", "_high"))
        }
        | {"test_margin": found.margin["mean"], "test_calibration_error": found.calibration["error"]}
    )


def make_trainer(
    config: RewardModelConfig,
    run: StageRun,
    model: PreTrainedModel,
    data: PairData,
    device: torch.device,
) -> "RewardTraining":
    """The trainer, its model with adapters where these are trained."""
    validated = bool(data.pairs["validation"])
    arguments = training_arguments(
        RewardConfig,
        config,
        run,
        examples=len(data.pairs["train"]),
        validated=validated,
        device=device,
        max_length=None,  # responses are already cut
        center_rewards_coefficient=config.center or None,
        disable_dropout=True,
    )
    return RewardTraining(
        model=add_lora(config, use_fused_gelu(model), HEAD.lora, heads_of(model)),
        args=arguments,
        data_collator=data.collator,
        train_dataset=data.dataset("train"),
        eval_dataset=data.dataset("validation") if validated else None,
        processing_class=data.tokenizer,
        callbacks=[Reporting(run, LOGGED)],
    )


class RewardTraining(AlreadyTokenized, PairMeans, RewardTrainer):
    """Means over the pairs of a whole step and of all evaluation, of the order alone: without `center`."""

    measured = MEASURED

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = self.pair_metrics()
        self._metrics["eval"].clear()  # of the checks
        return evaluated(self, metrics)

    def ahead(self, batch: dict[str, Tensor]) -> Tensor:
        """How much more the chosen response is worth than the rejected."""
        chosen, rejected = self.model(**batch, use_cache=False).logits[:, 0].chunk(2)
        return chosen - rejected
