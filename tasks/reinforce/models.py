"""Reward models among the rewards: what each says of a response, as it is, without bounds."""

from collections.abc import Mapping
from pathlib import Path

from tasks.config import MODEL_INPUT, GrpoConfig
from tasks.errors import StageError
from tasks.machine.device import pick_device
from tasks.models.reward import RewardModel
from tasks.record.manifest import require_unaltered
from tasks.record.stage import StageRun
from tasks.reinforce.rewards import Score, model_folder


def model_scores(config: GrpoConfig, run: StageRun, outputs: Mapping[str, Path]) -> dict[str, Score]:
    """By the names of the rewards, what their models give; `outputs` are those of stages, by input name.

    Raises StageError for one that is not there, and for a folder that was altered since the key was made.
    """
    found: dict[str, Score] = {}
    rewards = [reward for reward in config.rewards if reward.model is not None]
    for place, reward in enumerate(rewards):
        output = outputs.get(f"{MODEL_INPUT}{place}")
        if output is None and (output := model_folder(reward.model)):
            known = run.fingerprints.get(f"reward model {reward.model}")
            require_unaltered(f"the reward model {reward.model}", output, known)
        if output is None:
            raise StageError(
                f"the reward {reward.name} has no reward model. Train one (reward: in the profile), or name "
                "one, as reward:NAME"
            )
        run.phase(f"loading the reward model of {reward.name}")
        model = RewardModel.load(output, pick_device(config.device))
        if model.max_length < config.max_length:
            run.say(
                f"{reward.name} reads the first {model.max_length} tokens of a prompt and its response, and "
                f"grpo.max_length is {config.max_length}: what a response says behind them is not rewarded"
            )
        found[reward.name] = model.rewards
    return found
