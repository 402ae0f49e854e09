"""TRL's trainers of GRPO and RLOO, with our decoder, rewards and validation; they stop and resume as others.

Each step draws what it learns from with the weights as they are, and takes one step on it: nothing is learned
from twice, so that there is no ratio to clip (TRL's `num_iterations` is 1), and a training that resumes at a
step draws what it would have drawn.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tasks.config import GrpoConfig
from tasks.errors import StageError
from tasks.finetune.resuming import Resumable
from tasks.finetune.training import Reporting, evaluated, training_arguments
from tasks.generate.in_training import whole
from tasks.judge.protocol.responses import ResponseRow, kind_of
from tasks.judge.score.metrics import metric_scores
from tasks.models.adapters import add_lora
from tasks.models.loading import retired_names, use_fused_gelu
from tasks.record.stage import StageRun
from tasks.reinforce.prompts import GroupSampler, PromptData
from tasks.reinforce.rewards import METRICS, Reward, scored, total
from tasks.reinforce.rollouts import Rollouts
from tasks.rows import Row
from tasks.statistics.comparing import paired_test

LOGITS = 2**27  # of a micro-batch, half a gigabyte in float32: from there on TRL's tiles are worth their time
BESIDE = ("exact", "chrf")
"""Metrics of validation that stand beside the rewards, where they are none themselves."""
LOGGED = {
    "loss": "policy_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "reward": "reward",
    "reward_std": "reward_spread",
    "frac_reward_zero_std": "share_of_equal_groups",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "share_cut",
    "looping": "share_looping",
    "eval_reward": "validation_reward",
    "eval_length": "validation_length",
    "eval_cut": "validation_share_cut",
    "eval_looping": "validation_share_looping",
}


def logged(rewards: Sequence[Reward]) -> dict[str, str]:
    """What the numbers of a training are called here."""
    by_reward = {f"rewards/{own.label}/mean": f"reward_{own.label}" for own in rewards}
    by_reward |= {f"eval_{name}": f"validation_{ours}" for name, ours in by_reward.items()}
    beside = {f"eval_{name}": f"validation_{name}" for name in beside_of(rewards)}
    changes = {f"{name}_high": f"{ours}_change_high" for name, ours in beside.items()}
    return LOGGED | by_reward | beside | changes


def beside_of(rewards: Sequence[Reward]) -> list[str]:
    return [name for name in BESIDE if name not in {own.label for own in rewards}]


class RewardReporting(Reporting):
    """Tells of a step what its responses were worth; its loss says nothing of that."""

    def told(self, logs: Mapping[str, float]) -> str:
        return f"reward {logs['reward']:.3f}, KL {logs['kl']:.3f}"


class RewardTraining(Resumable):
    """Before GRPOTrainer or RLOOTrainer among the parents: what is drawn, its worth, how it is validated.

    `evaluate` answers the validation prompts greedily; the kept weights are those with the highest reward.
    """

    data: PromptData
    rollouts: Rollouts
    rewards: list[Reward]
    start: dict[str, list[float | None]] | None = None
    """What the model before training has by every metric that is no reward, row by row."""

    # What TRL would do in its own way

    def _get_train_sampler(self, _dataset: Dataset | None = None) -> Sampler:
        micro_batches = self.args.steps_per_generation
        prompts = self.args.generation_batch_size // self.num_generations
        return GroupSampler(
            len(self.data.ids["train"]), self.num_generations, prompts, micro_batches, self.args.seed
        )

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The tokens that fine-tuning trained on; TRL would make others of a text than of a conversation."""
        return [self.data.ids["train"][int(place)] for place in prompts], None, {}

    def _drawn(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        key = f"step {self.state.global_step}"
        return self.rollouts.drawn(self.model, prompts, key, self.stop_within_step)

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel | PeftModel,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As the parent's, whose tiles save memory where logits are many and take thrice the time of few."""
        learned = attention_mask[:, -logits_to_keep:].bool()
        vocabulary = self.model.config.get_text_config().vocab_size
        if compute_aux_loss or int(learned.sum()) * vocabulary > LOGITS:
            own = {"batch_size": batch_size, "compute_entropy": compute_entropy}
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                **own,
                compute_aux_loss=compute_aux_loss,
                **inputs,
            )
        with self.accelerator.autocast():
            logits = learned_logits(model, input_ids, attention_mask, learned)
        log_probs = (logits.float() / self.temperature).log_softmax(dim=-1)
        tokens = input_ids[:, -logits_to_keep:][learned]
        taken = log_probs.gather(1, tokens[:, None])[:, 0]
        zeros = log_probs.new_zeros(learned.shape)
        entropies = None
        if compute_entropy:
            with torch.no_grad():
                entropies = zeros.masked_scatter(learned, -(log_probs.exp() * log_probs).sum(dim=-1))
        return zeros.masked_scatter(learned, taken), entropies, None

    # Validation

    def evaluate_if_left(self) -> None:
        """Of a training that begins, what it starts from; of one that resumes, what was left."""
        if self.state.global_step or self.args.eval_strategy == "no":
            super().evaluate_if_left()
        else:
            self.evaluate()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        rows = self.data.rows["validation"]
        if self.start is None:
            with self.as_reference() as reference:
                texts, _ids = self._answers(reference)
            self.start = self._beside(texts, rows)
        texts, ids = self._answers(self.model)
        values = scored(self.rewards, texts, rows)
        reward = fmean(total(self.rewards, values))
        metrics = {"eval_loss": -reward, "eval_reward": reward}  # trainers keep what has the lowest loss
        metrics |= {f"eval_rewards/{name}/mean": fmean(own) for name, own in values.items()}
        for name, own in self._beside(texts, rows).items():
            change = paired_test(own, self.start[name], [row.get("source") for row in rows])
            if change:  # some row has a reference
                metrics[f"eval_{name}"] = fmean(value for value in own if value is not None)
                metrics[f"eval_{name}_high"] = change.high
        metrics["eval_length"] = fmean(map(len, ids))
        metrics["eval_cut"] = fmean(self.rollouts.is_cut(self.model, ids))
        metrics["eval_looping"] = looping(texts, rows)
        return evaluated(self, metrics)

    def _answers(self, model: PreTrainedModel | PeftModel) -> tuple[list[str], list[list[int]]]:
        """The greedy responses to the validation prompts, as texts and as tokens."""
        ids = self.rollouts.answered(model, self.data.ids["validation"], self.stop_evaluating)
        return self.rollouts.texts(ids), ids

    def _beside(self, texts: Sequence[str], rows: Sequence[Row]) -> dict[str, list[float | None]]:
        """Every metric that is no reward, from 0 to 100; None for a row without a reference."""
        return {
            name: [
                metric_scores(text, row["output"], {name: METRICS[name]}).get(name)
                for text, row in zip(texts, rows, strict=True)
            ]
            for name in beside_of(self.rewards)
        }

    @contextmanager
    def as_reference(self) -> Iterator[PreTrainedModel | PeftModel]:
        """The model that the trained one is held to; with adapters, that without them."""
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.ref_model


class GroupTraining(RewardTraining, GRPOTrainer):
    """Of `algorithm: grpo`."""

    def _generate_single_turn(
        self, prompt_ids: Sequence[Sequence[int]], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        return self._drawn(prompt_ids), None


class LeaveOneOutTraining(RewardTraining, RLOOTrainer):
    """Of `algorithm: rloo`."""

    def _generate_single_turn(self, prompt_ids: Sequence[Sequence[int]], *_: Any) -> list[list[int]]:
        return self._drawn(prompt_ids)


ALGORITHMS: Mapping[str, tuple[type[RewardTraining], type[Any]]] = {
    "grpo": (GroupTraining, GRPOConfig),
    "rloo": (LeaveOneOutTraining, RLOOConfig),
}


def make_trainer(
    config: GrpoConfig,
    run: StageRun,
    model: PreTrainedModel,
    data: PromptData,
    rewards: list[Reward],
    device: torch.device,
) -> RewardTraining:
    """The trainer; its reference is the model as it is in its folder."""
    trainer_type, arguments_type = ALGORITHMS[config.algorithm]
    validated = bool(data.rows["validation"])
    arguments = training_arguments(
        arguments_type,
        config,
        run,
        examples=_whole_steps(config, len(data.ids["train"])),
        validated=validated,
        device=device,
        beta=config.beta,
        num_generations=config.group_size,
        num_generations_eval=1,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        reward_weights=[reward.weight for reward in rewards],
        disable_dropout=True,
        remove_unused_columns=False,
    )
    rollouts = Rollouts(config, data)
    with retired_names():
        trainer = trainer_type(
            model=add_lora(config, use_fused_gelu(model)),
            reward_funcs=[_function(reward, data, rollouts) for reward in rewards],
            args=arguments,
            train_dataset=data.dataset("train"),
            eval_dataset=data.dataset("validation") if validated else None,
            processing_class=data.template.tokenizer,
            callbacks=[RewardReporting(run, logged(rewards))],
        )
    trainer.data, trainer.rollouts, trainer.rewards = data, rollouts, rewards
    count_positions(trainer.model)
    if isinstance(trainer.model, PeftModel):
        trainer.model.delete_adapter("ref")  # a copy of the new adapters, which as yet change nothing
    else:
        count_positions(use_fused_gelu(trainer.ref_model))
    return trainer


def learned_logits(
    model: PreTrainedModel | PeftModel, input_ids: Tensor, mask: Tensor, learned: Tensor
) -> Tensor:
    """The logits that predict the tokens that `learned` marks of the last columns: (tokens, vocabulary)."""
    columns = slice(-learned.shape[1] - 1, -1)
    head = whole(model).get_output_embeddings()
    only = head.register_forward_pre_hook(lambda _head, given: (given[0][:, columns][learned],))
    try:
        return model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    finally:
        only.remove()


def count_positions(model: PreTrainedModel | PeftModel) -> None:
    """Have the model count positions over the mask where nobody tells it any.

    TRL pads prompts on the left and gives no positions: those of GPT-2 are then shifted by the padding, and
    what is learned from are other probabilities than those that a response was drawn by.
    """
    if "position_ids" in inspect.signature(whole(model).forward).parameters:
        model.register_forward_pre_hook(_with_positions, with_kwargs=True)


def _with_positions(
    _model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask = named.get("attention_mask")
    if mask is not None and named.get("position_ids") is None:
        named = named | {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}
    return arguments, named


def _whole_steps(config: GrpoConfig, prompts: int) -> int:
    """The responses of an epoch. Raises StageError for fewer prompts than a step has."""
    a_step = config.batch_size * config.accumulation // config.group_size
    if prompts < a_step:
        raise StageError(
            f"a step has {a_step} prompts (batch_size x accumulation / group_size), and the train split "
            f"{prompts}. Lower grpo.batch_size, or raise grpo.group_size"
        )
    return prompts // a_step * a_step * config.group_size


def _function(reward: Reward, data: PromptData, rollouts: Rollouts) -> Callable[..., list[float]]:
    """The reward as TRL calls it; it tells the share of looping responses beside."""

    def score(
        prompts: list[str],
        completion_ids: list[list[int]],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        rows = [data.rows["train"][int(place)] for place in prompts]
        texts = rollouts.texts(completion_ids)
        log_metric("looping", looping(texts, rows))
        return reward.score(texts, rows)

    score.__name__ = reward.label
    return score


def looping(texts: Sequence[str], rows: Sequence[Row]) -> float:
    """The share of responses that are little but a repetition."""
    found = [
        kind_of(ResponseRow(row["id"], row["instruction"], row["input"], row["output"], "", text))
        for text, row in zip(texts, rows, strict=True)
    ]
    return found.count("looping") / len(found)
