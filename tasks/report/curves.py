"""Curves of training for the card: few enough points to send and draw, and no spike lost."""

from collections.abc import Sequence
from itertools import pairwise

from tasks.machine.json_files import Json
from tasks.models.summary import SOURCE_LOSS

LIMIT = 300  # points of one line

# What a history's entries call the quantity, measured in training and on the validation split.
QUANTITIES = {
    "loss": {"train": "train_loss", "validation": "validation_loss"},
    "score": {"validation": "validation_score"},
    "accuracy": {"validation": "validation_accuracy"},
    "masked accuracy": {"validation": "masked_accuracy"},
    "F1": {"validation": "validation_f1"},
    "reward margin": {"train": "reward_margin", "validation": "validation_reward_margin"},
    "reward accuracy": {"train": "reward_accuracy", "validation": "validation_reward_accuracy"},
}
OF_REWARDS = {
    "reward": {"train": "reward", "validation": "validation_reward"},
    "KL divergence": {"train": "kl"},
    "entropy": {"train": "entropy"},
    "response length": {"train": "length", "validation": "validation_length"},
    "share cut": {"train": "share_cut", "validation": "validation_share_cut"},
    "share looping": {"train": "share_looping", "validation": "validation_share_looping"},
    "exact beside": {"validation": "validation_exact"},
    "chrf beside": {"validation": "validation_chrf"},
}
BY_SOURCE = "loss by source"
REWARD = "reward_"  # how the field begins that one reward of several has

Point = tuple[float, float]


def curves(training: str, history: Sequence[Json], best_step: int | None) -> list[Json]:
    """Every quantity that was measured over the steps, and where the kept checkpoint is.

    A line that was never measured is left out, as validation is without a validation split.
    """
    kept = next((entry["step"] for entry in history if entry["step"] == best_step), None)
    quantities = QUANTITIES | _by_source(history) if training != "reinforcement" else _of_rewards(history)
    found = [
        {"training": training, "quantity": quantity, "x": "steps", "kept": kept}
        | {"lines": _lines(history, fields)}
        for quantity, fields in quantities.items()
    ]
    return [curve for curve in found if curve["lines"]]


def _by_source(history: Sequence[Json]) -> dict[str, dict[str, str]]:
    """The validation losses on the sources that were mixed, if there are any."""
    fields = dict.fromkeys(field for entry in history for field in entry if field.startswith(SOURCE_LOSS))
    return {BY_SOURCE: {field.removeprefix(SOURCE_LOSS): field for field in fields}} if fields else {}


def _of_rewards(history: Sequence[Json]) -> dict[str, dict[str, str]]:
    """Those of reinforcement; of several rewards each by itself."""
    fields = dict.fromkeys(field for entry in history for field in entry if field.startswith(REWARD))
    rewards = [field for field in fields if field != "reward_spread"]
    own = {
        f"reward {field.removeprefix(REWARD)}": {"train": field, "validation": f"validation_{field}"}
        for field in rewards
        if len(rewards) > 1
    }
    first, *others = OF_REWARDS.items()
    return dict([first]) | own | dict(others)


def _lines(history: Sequence[Json], fields: dict[str, str]) -> list[Json]:
    lines = []
    for name, field in fields.items():
        points = [(entry["step"], entry[field]) for entry in history if field in entry]
        if points:
            lines.append({"name": name, "measured": len(points), "points": thin(points, LIMIT)})
    return lines


def thin(points: Sequence[Point], limit: int) -> list[list[float]]:
    """At most `limit` of [x, mean, lowest, highest], each of a run of neighbours, x being the run's last.

    Dropping points instead would hide a spike, or show one and make it the rule.
    """
    count = min(limit, len(points))
    borders = [len(points) * index // count for index in range(count + 1)]
    runs = [points[start:end] for start, end in pairwise(borders)]
    return [_summary_of([y for _, y in run], run[-1][0]) for run in runs]


def _summary_of(values: list[float], x: float) -> list[float]:
    numbers = sum(values) / len(values), min(values), max(values)
    return [x, *(float(f"{number:.6g}") for number in numbers)]
