"""A classifier and its baselines on the same test rows, as the classify stage found them."""

from pathlib import Path

from tasks.classify.card import Card
from tasks.classify.outputs import Evaluation, Prediction, read_predictions, require_measured
from tasks.classify.tasks import card_of
from tasks.config import ReportConfig
from tasks.judge.score.outputs import ScoreSummary
from tasks.machine.json_files import Json
from tasks.models import CLASSIFIER
from tasks.show.document import spread


def classified(config: ReportConfig, folder: Path) -> Json:
    """The evaluation as it stands, and some test rows, those answered wrongly first.

    Raises StageError for a classifier that was not measured on test rows.
    """
    require_measured(folder)
    scores = ScoreSummary.read(folder)
    evaluation = Evaluation.read(folder)
    card = card_of(evaluation.as_json())
    predictions = [_example(line, evaluation.baseline_names) for line in read_predictions(folder)]
    return {
        "headline": scores.headline,
        "scores": [{"model": CLASSIFIER} | entry for entry in scores.scores],
        "evaluation": evaluation.as_json(),
        "examples": {
            "of": len(predictions),
            "wrong": sum(not card.is_right(one) for one in predictions),
            "rows": examples(predictions, config.samples, card),
        },
    }


def misclassified(folder: Path) -> list[Json]:
    """All test rows that got another answer than theirs, the surest mistake first."""
    evaluation = Evaluation.read(folder)
    card = card_of(evaluation.as_json())
    every = [_example(line, evaluation.baseline_names) for line in read_predictions(folder)]
    return sorted((one for one in every if not card.is_right(one)), key=lambda one: -one["probability"])


def _example(line: Prediction, baselines: list[str]) -> Json:
    own = {name: value for name, value in line.items() if name not in baselines and name != "source"}
    return own | {"baselines": {name: line[name] for name in baselines}}


def examples(predictions: list[Json], count: int, card: Card) -> list[Json]:
    """At most `count`: the wrong answers from the surest mistake on, then right ones from the least sure on.

    Where there are more than room, they are spread evenly over the probabilities.
    """
    wrong = [one for one in predictions if not card.is_right(one)]
    shown = spread(sorted(wrong, key=lambda one: -one["probability"]), count)
    if len(shown) == count:
        return shown
    right = [one for one in predictions if card.is_right(one)]
    return shown + spread(sorted(right, key=lambda one: one["probability"]), count - len(shown))
