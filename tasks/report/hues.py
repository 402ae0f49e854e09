"""The colours in which the card tells models and splits apart."""

from collections.abc import Sequence

from tasks.judge.score.scores_wording import tone
from tasks.machine.json_files import Json
from tasks.show.document import Column, Hue, Tone

MODELS: dict[str, Hue] = {
    "base": "slate",
    "fine-tuned": "amber",
    "preferred": "teal",
    "reinforced": "violet",
    "classifier": "amber",
}
IN_TURN: tuple[Hue, ...] = ("slate", "amber", "teal", "violet")
"""Of sources, which have names of their own."""
SPLITS: dict[str, Hue] = {"train": "slate", "validation": "amber"}


def model_columns(first: str, models: Sequence[str]) -> list[Column]:
    """The column of names, and one for each model."""
    return [Column(first), *(Column(model, MODELS[model]) for model in models)]


def tone_of(difference: Json) -> Tone:
    """What a paired interval shows, as a tone; none where nothing is known."""
    shown = tone(difference)
    return "" if shown == "none" else shown
