"""Which seeds a recipe is trained with: the one place that says what varies between its trainings, and why.

Seed number i of N adds i - 1 to the profile's own `seed` of every stage in `SEEDED`; a list of seeds in the
profile stands for all of them instead. So the first of N is the profile as it is, and a run of it alone is
found.

Varied is what a training draws: first weights, the order of what it reads, dropout, adapters, the responses
that are rewarded (pretrain, finetune, reward, dpo, grpo, classify), and what the trained model draws when it
responds by sampling (generate). All else stays as it is: which rows are made or downloaded, how rows are
split, what a tokenizer holds out, which rows a judge is audited on and which are shown. Seeds are then scored
on the same test rows, having been trained on the same ones, and what differs between them is training alone.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows.profiles.profile import Profile
from tasks.config import GenerateConfig, StageConfig
from tasks.errors import UsageError
from tasks.models import TRAININGS

SEEDED = ("pretrain", *TRAININGS.values(), "reward", "classify", "generate")
SHARED = ("download", "rows", "base", "tokenize", "suite", "preflight", "audit")  # before any of those


class SeedOf(BaseModel):
    """That a pipeline run is one of several, and which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    """The MLflow run of all of them."""
    number: int


@dataclass(frozen=True)
class Training:
    """One of the trainings of a recipe: its number from 1 on, its profile, and the seeds in that by stage."""

    number: int
    profile: Profile
    seeds: dict[str, int]

    def __str__(self) -> str:
        return f"seed {self.number} ({', '.join(f'{stage} {seed}' for stage, seed in self.seeds.items())})"


def trainings_of(profile: Profile) -> list[Training]:
    """The trainings that a profile's `seeds` asks for.

    Raises UsageError when several are asked for and nothing in the profile draws anything.
    """
    varied = {
        stage: config
        for stage in SEEDED
        if stage in profile.stages() and _draws(config := getattr(profile, stage))
    }
    asked = range(profile.seeds) if isinstance(profile.seeds, int) else profile.seeds
    if len(asked) > 1 and not varied:
        raise UsageError(f"seeds: {len(asked)} trainings are asked for, but {profile.name} trains nothing")
    return [_training(profile, place, seed, varied) for place, seed in enumerate(asked)]


def _draws(config: StageConfig) -> bool:
    return not isinstance(config, GenerateConfig) or config.decoding == "sample"


def _training(profile: Profile, place: int, seed: int, varied: dict[str, Any]) -> Training:
    """The first alone may become champion: it is fixed before any is scored."""
    if isinstance(profile.seeds, int):
        seeds = {stage: (config.seed + seed) % 2**32 for stage, config in varied.items()}
    else:
        seeds = dict.fromkeys(varied, seed)
    changed: dict[str, Any] = {
        stage: config.model_copy(update={"seed": seeds[stage]}) for stage, config in varied.items()
    }
    if place and "promote" in profile.stages():
        changed["promote"] = profile.promote.model_copy(update={"eligible": False})
    return Training(place + 1, profile.model_copy(update=changed | {"seeds": 1}), seeds)
