"""The stage: GRPO or RLOO with TRL, from the fine-tuned model to one that its rewards have made better."""

from collections.abc import Sequence
from pathlib import Path

from tasks.config import MODEL_INPUT, GrpoConfig
from tasks.distributed.launch import run_training
from tasks.distributed.part import ProcessRole
from tasks.finetune.resuming import train
from tasks.finetune.training import History
from tasks.machine.device import pick_device
from tasks.models.adapters import count_parameters, load_to_tune, write_model
from tasks.models.architectures import longest
from tasks.models.kinds import require_causal
from tasks.models.loading import load_tokenizer, retired_names
from tasks.models.summary import write_history
from tasks.record.stage import StageRun
from tasks.reinforce.checks import check_reinforcement
from tasks.reinforce.judged import judge_scores
from tasks.reinforce.models import model_scores
from tasks.reinforce.outputs import GrpoSummary
from tasks.reinforce.prompts import prompt_data
from tasks.reinforce.rewards import Reward, rewards_of
from tasks.reinforce.trainer import RewardTraining, beside_of, logged, make_trainer

OF_LAST_STEP = ("reward", "kl", "entropy", "length", "share_cut", "share_looping", "share_of_equal_groups")


def grpo(config: GrpoConfig, run: StageRun, *, tuned: Path, rows: Path, **judging: Path) -> None:
    """Train `tuned/model` on what its own responses to the train split of `rows` are worth.

    `judging` are the audits of the judges among the rewards, and the reward models.

    Writes `model/` with the highest reward on validation prompts, `history.jsonl`, `summary.json`. Raises
    StageError for a reward that cannot be had and for a prompt that leaves no room, RefusedError when a check
    fails: above all when rewards do not differ, so that there is nothing to learn from.
    """
    run_training(reinforce, config, run, tuned=tuned, rows=rows, **judging)


@retired_names()
def reinforce(
    config: GrpoConfig, run: StageRun, part: ProcessRole, *, tuned: Path, rows: Path, **judging: Path
) -> None:
    """As `grpo`, as the part of one process."""
    device = pick_device(config.device)
    models = {name: folder for name, folder in judging.items() if name.startswith(MODEL_INPUT)}
    audits = [folder for name, folder in judging.items() if name not in models]
    judged = judge_scores(config, run, audits) | model_scores(config, run, models)
    rewards = rewards_of(config, judged, run.fingerprints)
    tokenizer = load_tokenizer(tuned / "model")
    run.phase("loading the fine-tuned model")
    require_causal(tuned / "model", "grpo")
    model = load_to_tune(config, tuned / "model", device)
    run.phase("tokenizing the prompts")
    data = prompt_data(config, tokenizer, rows, longest(model))
    trainer = make_trainer(config, run, model, data, rewards, device)
    part.require(config.preflight, lambda: check_reinforcement(config, trainer, tuned, run))
    train(trainer, run, config, part)
    _write(config, run, trainer, tuned)
    trainer.accelerator.end_training()


def _write(config: GrpoConfig, run: StageRun, trainer: RewardTraining, tuned: Path) -> None:
    run.phase("writing the model")
    data, history = trainer.data, History.of(trainer, logged(trainer.rewards))
    write_model(
        config,
        trainer.model,
        data.template.export(data.template.tokenizer),
        tuned / "model",
        run.out / "model",
    )
    write_history(run.out, history.entries)
    best_step, before, kept = of_validation(history)
    told = warnings_of(history, trainer.rewards, best_step)
    for line in told:
        run.say(line)
    summary = GrpoSummary(
        method=config.algorithm,
        template=data.template.name,
        rewards=[{"name": own.label, "weight": own.weight} for own in trainer.rewards],
        beta=config.beta,
        tune=config.tune,
        **count_parameters(trainer.model),
        prompts=len(data.rows["train"]),
        group_size=config.group_size,
        temperature=config.temperature,
        steps=trainer.state.global_step,
        **{name: history.at(None, name) for name in OF_LAST_STEP},
        best_step=best_step,
        validation_prompts=len(data.rows["validation"]),
        validation_reward=kept,
        validation_reward_before=before,
        warnings=told,
    )
    summary.write(run.out)
    numbers = {name: value for name, value in summary.as_json().items() if isinstance(value, int | float)}
    run.log_metrics(numbers)


def of_validation(history: History) -> tuple[int | None, float | None, float | None]:
    """The step with the highest reward on validation prompts, the reward before training, and that one."""
    line = history.line("validation_reward")
    after = [(step, reward) for step, reward in line if step]
    if not after:
        return None, None, None
    step, reward = max(after, key=lambda point: point[1])  # of equal ones the first
    return step, line[0][1], reward


def warnings_of(history: History, rewards: Sequence[Reward], best_step: int | None) -> list[str]:
    """A reward that rose while a metric that is no part of it fell; and one that did not rise.

    A metric fell where the interval of its paired change on the validation prompts lies below 0.
    """
    _, before, kept = of_validation(history)
    if best_step is None or before is None or kept is None:
        return []
    if kept <= before:
        return [
            f"the reward on validation prompts did not rise: {before:.3f} before the first step, {kept:.3f} "
            f"at step {best_step}, the best one"
        ]
    found = []
    for name in beside_of(rewards):
        high = history.at(best_step, f"validation_{name}_change_high")
        if high is not None and high < 0:
            first, last = history.at(0, f"validation_{name}"), history.at(best_step, f"validation_{name}")
            found.append(
                f"the reward rose from {before:.3f} to {kept:.3f} while {name}, which is no part of it, fell "
                f"from {first:.1f} to {last:.1f}: look at the responses before you believe it"
            )
    return found
