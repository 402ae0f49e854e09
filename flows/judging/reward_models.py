"""Reward models in a pipeline: trained and registered, and those that rewards name as inputs."""

from collections.abc import Mapping

from flows.dispatch.find_model import find_reward_model
from flows.dispatch.lookup import Runs
from flows.profiles.profile import Profile
from tasks.config import MODEL_INPUT, GrpoConfig, RegisterConfig
from tasks.record.tracking import Tracking
from tasks.record.work import Reference

OWN = "reward_model"  # what the report calls the profile's own


def train_rewards(run: Runs, profile: Profile, tuned: Reference, rows: Reference) -> dict[str, Reference]:
    """The profile's reward model and its version, by the names that the report has for them.

    Of several seeds the first alone is registered.
    """
    made = {OWN: run.stage("reward", profile.reward, tuned=tuned, rows=rows)}
    if profile.promote.eligible:
        named = RegisterConfig(name=f"{profile.promote.name}-reward")
        made["reward_version"] = run.stage("register", named, model=made[OWN], rows=rows)
    return made


def find_reward_models(tracking: Tracking, config: GrpoConfig) -> dict[str, Reference]:
    """Those among the rewards that were trained before, by the names of inputs; folders are no inputs.

    Raises UsageError for what is not there, and for another model.
    """
    found = {
        f"{MODEL_INPUT}{place}": find_reward_model(tracking, name).model
        for place, name in enumerate(config.models)
        if name
    }
    return {name: model for name, model in found.items() if model}


def reward_inputs(
    config: GrpoConfig, found: Mapping[str, Reference], made: Mapping[str, Reference]
) -> dict[str, Reference]:
    """What was found, and the profile's own reward model where a reward is that."""
    own = {f"{MODEL_INPUT}{place}": made[OWN] for place, name in enumerate(config.models) if not name}
    return dict(found) | own
