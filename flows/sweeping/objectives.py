"""By what a sweep chooses: a validation number of a profile's last training, and what may be tried for it.

Trials are told apart by that number alone, so that what is tried must change the training, and must leave
what is measured as it is: a loss a token means something else with other tokens, or on other rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flows.profiles.profile import Profile
from flows.profiles.spelling import DOWNLOADS
from tasks.config import Direction, ValidateConfig
from tasks.errors import UsageError
from tasks.models import TRAININGS

DATA = (*DOWNLOADS, "synthesize", "rows")
SEED = "seed"
CLASSIFY = "classify"


@dataclass(frozen=True)
class Measure:
    """A number in the summary of a training."""

    field: str
    direction: Direction
    fixed: tuple[str, ...] = ()
    """Settings, or their sections, with which it measures something else."""
    curve: str | None = None
    """What the training logs of it at each evaluation; None where that is another number."""
    by_row: bool = False
    """Whether the validate stage has it, as the mean over its rows; `field` tells whether there are any."""


def _in(section: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names)


RESPONSES = ("keep_by", "keep_rows")
TOKENS = ("tokenize", "base")  # what a text is cut into
REFERENCE = (*TOKENS, "pretrain", "finetune")  # the model that preferences are measured against
LOSS, SCORE, BITS = "validation_loss", "validation_score", "bits_per_byte"
MEASURES: Mapping[str, Mapping[str, Measure]] = {
    "pretrain": {
        BITS: Measure(
            f"best_{BITS}",
            "minimize",
            ("tokenize.validation", "tokenize.include_rows", *_in("pretrain", "document_mask", "objective")),
            BITS,
        ),
        LOSS: Measure(
            f"best_{LOSS}",
            "minimize",
            ("tokenize", *_in("pretrain", "document_mask", "objective", "mask_rate", "masking")),
            LOSS,
        ),
    },
    "finetune": {
        LOSS: Measure(
            f"best_{LOSS}",
            "minimize",
            (*TOKENS, "pretrain.context", *_in("finetune", "template", "loss", "turns", "max_length")),
            LOSS,
        ),
        SCORE: Measure(f"best_{SCORE}", "maximize", _in("finetune", *RESPONSES), SCORE),
    },
    "dpo": {
        LOSS: Measure(
            f"best_{LOSS}", "minimize", (*REFERENCE, *_in("dpo", "beta", "template", "max_length")), LOSS
        ),
        "reward_accuracy": Measure("validation_reward_accuracy", "maximize", REFERENCE),
        SCORE: Measure(f"best_{SCORE}", "maximize", _in("dpo", *RESPONSES), SCORE),
    },
    "grpo": {
        "validation_reward": Measure(
            "validation_reward",
            "maximize",
            _in("grpo", "rewards", "asking", "validation_prompts", "max_new_tokens"),
            "validation_reward",
        ),
    },
    CLASSIFY: {
        LOSS: Measure(
            f"best_{LOSS}", "minimize", (*TOKENS, "pretrain.context", *_in("classify", "max_length")), LOSS
        ),
        SCORE: Measure(f"best_{LOSS}", "maximize", by_row=True),
    },
}


@dataclass(frozen=True)
class Objective:
    """What a sweep of a profile chooses by."""

    stage: str
    """The last training."""
    by: str
    measure: Measure
    metric: str | None = None
    """The scorer of a validation score; None of a classifier's, whose rows say what that is."""


def objective_of(profile: Profile, by: str | None, stage: str | None = None) -> Objective:
    """By what trials of a profile are compared, up to its last training or to `stage`.

    `by` names the number, None leaves it to the profile.

    Raises UsageError for a profile that trains nothing, and for a number that it does not have.
    """
    stage = stage or _last_training(profile)
    known = dict(MEASURES[stage])
    config = profile.trainings.get(stage)
    keep_by = getattr(config, "keep_by", None)
    if keep_by == "loss":
        known.pop(SCORE)
    elif keep_by:
        known = {SCORE: known.pop(SCORE)} | known
    if stage == "pretrain" and profile.pretrain.objective == "masked":
        known.pop(BITS)
    if by is not None and by not in known:
        hint = ""
        if by == SCORE and stage in ("finetune", "dpo"):
            hint = f". It is there with --set {stage}.keep_by=chrf, or another metric"
        raise UsageError(f"--by {by}: {stage} of {profile.name} has {', '.join(known)}{hint}")
    name = by or next(iter(known))
    metric = f"metric:{keep_by}" if name == SCORE and keep_by else None
    return Objective(stage, name, known[name], metric)


def validate_config(profile: Profile, objective: Objective) -> ValidateConfig | None:
    """How a trial's model is measured row by row; None where its number is of no rows that stay the same."""
    stage, has_score = objective.stage, objective.by == SCORE
    if stage == "pretrain" and profile.pretrain.objective == "causal":
        return ValidateConfig(pretrain=profile.pretrain)
    if stage == "finetune":
        return ValidateConfig(finetune=profile.finetune, score=has_score)
    if stage == "dpo" and has_score:
        return ValidateConfig(dpo=profile.dpo, score=True)
    if stage == CLASSIFY:
        return ValidateConfig(classify=profile.classify, score=has_score)
    return None


def _last_training(profile: Profile) -> str:
    if profile.labelled:
        return CLASSIFY
    last = next(reversed(profile.trainings), None) if profile.is_tuned else None
    if last is None and profile.base:
        raise UsageError(f"{profile.name} trains nothing: there is nothing to choose by")
    return last or "pretrain"


def require_tellable(profile: Profile, objective: Objective, setting: str) -> None:
    """Raises UsageError for a setting whose values the objective cannot tell apart, or cannot compare."""
    section, _, name = setting.partition(".")
    by = f"{objective.by} of {objective.stage}"
    if section not in Profile.model_fields:
        return  # that it does not exist is told where it is read
    if section in DATA or _is_in(setting, objective.measure.fixed):
        raise UsageError(
            f"--over {setting}: with another value {by} measures something else, and trials could not be "
            f"compared. Set it for all of them: --set {setting}=VALUE"
        )
    known = [one for one in _sections_before(profile, objective.stage) if one not in objective.measure.fixed]
    if section not in known:
        raise UsageError(
            f"--over {setting}: {by} does not depend on it, so that no value of it is better than another. "
            f"A sweep of {profile.name} may try settings of {', '.join(known)}"
        )
    if not name and section != "base":
        raise UsageError(f"--over {setting}: name a setting of it: --over {setting}.KEY=A,B,C")
    if name.rpartition(".")[2] == SEED:
        raise UsageError(
            f"--over {setting}: the best of several seeds is the luckiest, and no recipe. "
            "touchstone run --seeds N tells how far seeds are apart"
        )


def _sections_before(profile: Profile, last: str) -> list[str]:
    """The sections of the stages that make what is measured, the last training's among them."""
    making = ("base", "tokenize", "pretrain", *TRAININGS.values(), CLASSIFY)
    running = [name for name in profile.stages() if name in making]
    return running[: running.index(last) + 1]


def _is_in(setting: str, fixed: tuple[str, ...]) -> bool:
    return any(setting == one or setting.startswith(f"{one}.") for one in fixed)
