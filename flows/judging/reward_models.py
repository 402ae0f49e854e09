"""Reward models in a pipeline: trained and registered, named as rewards, and as scorers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from flows.dispatch.find_model import DIGITS, find_reward_model
from flows.dispatch.lookup import Runs, is_planned
from flows.profiles.profile import Profile
from tasks.config import MODEL, MODEL_INPUT, AskConfig, GrpoConfig, JudgeConfig, RegisterConfig
from tasks.errors import RefusedError
from tasks.record.manifest import sha256_of_tree
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.reinforce.rewards import model_folder

Asking = TypeVar("Asking", bound=AskConfig)

OWN = "reward_model"  # what the report calls the profile's own


def train(run: Runs, profile: Profile, tuned: Reference, rows: Reference) -> dict[str, Reference]:
    """The profile's reward model and its version, by the names that the report has for them.

    Of several seeds the first alone is registered. Raises RefusedError as `find` does.
    """
    made = {OWN: run.stage("reward", profile.reward, tuned=tuned, rows=rows)}
    if profile.grpo and "" in profile.grpo.models and not is_planned(made[OWN]):
        _require_other_scorers(run.tracking, (), made, profile.judge)
    if profile.promote.eligible:
        named = RegisterConfig(name=f"{profile.promote.name}-reward")
        made["reward_version"] = run.stage("register", named, model=made[OWN], rows=rows)
    return made


def find(tracking: Tracking, profile: Profile) -> dict[str, Reference]:
    """Those among the rewards that were trained before, by the names of inputs; folders are no inputs.

    Raises UsageError for what is not there, and for another model; RefusedError where one is to promote what
    it has trained.
    """
    names = profile.grpo.models if profile.grpo else ()
    found = {
        f"{MODEL_INPUT}{place}": model
        for place, name in enumerate(names)
        if name and (model := find_reward_model(tracking, name).model)
    }
    _require_other_scorers(tracking, names, found, profile.judge)
    return found


def with_reward_digests(config: Asking) -> Asking:
    """The configuration with its reward models named by their digests, as those that they are now.

    Folders keep their names. Raises UsageError as `find_reward_model`.
    """
    names = config.scorers
    found = [_digested(name) if name.startswith(MODEL) else name for name in names]
    if tuple(found) == names:
        return config
    return config.model_copy(update={"scorer": found[0] if len(found) == 1 else tuple(found)})


def _digested(scorer: str) -> str:
    model = find_reward_model(open_tracking(), scorer.removeprefix(MODEL)).model
    return f"{MODEL}{model.digest[:DIGITS]}" if model else scorer


def with_digests(profile: Profile) -> Profile:
    """The profile with the reward models that judge named by their digests."""
    judge = with_reward_digests(profile.judge)
    return profile if judge is profile.judge else profile.model_copy(update={"judge": judge})


def _require_other_scorers(
    tracking: Tracking, names: Sequence[str], found: Mapping[str, Reference], config: JudgeConfig
) -> None:
    """Raise RefusedError where what is to promote a model is a reward model that trains it."""
    scorers = [scorer for scorer in config.judges if scorer.startswith(MODEL)]
    if not scorers:
        return
    training = {_weights(fetch(tracking, model) / OUTPUT) for model in found.values()}
    training |= {_weights(folder) for name in names if (folder := model_folder(name))}
    for scorer in scorers:
        files = find_reward_model(tracking, scorer.removeprefix(MODEL)).fetched(tracking)
        if _weights(files.path.parent) in training:
            raise RefusedError(
                f"judge.scorer {scorer} is among grpo.rewards too: a model learns the weakness of what "
                "rewards it, so another scorer has to promote it"
            )


def _weights(output: Path) -> str:
    return sha256_of_tree(output / "model")


def inputs(
    config: GrpoConfig, found: Mapping[str, Reference], made: Mapping[str, Reference]
) -> dict[str, Reference]:
    """What was found, and the profile's own reward model where a reward is that."""
    own = {f"{MODEL_INPUT}{place}": made[OWN] for place, name in enumerate(config.models) if not name}
    return dict(found) | own
