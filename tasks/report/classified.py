"""A classifier and its baselines on the same test rows, as the classify stage found them."""

from pathlib import Path

from tasks.config import ReportConfig
from tasks.finetune.outputs import Evaluation, Prediction, read_predictions
from tasks.judge.score.outputs import ScoreSummary
from tasks.machine.json_files import Json
from tasks.models import CLASSIFIER
from tasks.show.document import spread


def classified(config: ReportConfig, folder: Path) -> Json:
    """The evaluation as it stands, and some test texts, the misclassified ones first."""
    scores = ScoreSummary.read(folder)
    evaluation = Evaluation.read(folder)
    predictions = [_example(line, evaluation.baseline_names) for line in read_predictions(folder)]
    return {
        "headline": scores.headline,
        "scores": [{"model": CLASSIFIER} | entry for entry in scores.scores],
        "evaluation": evaluation.as_json(),
        "examples": {
            "of": len(predictions),
            "wrong": sum(one["predicted"] != one["label"] for one in predictions),
            "rows": examples(predictions, config.samples),
        },
    }


def misclassified(folder: Path) -> list[Json]:
    """All test texts that got another label than theirs, the surest mistake first."""
    names = Evaluation.read(folder).baseline_names
    wrong = [_example(line, names) for line in read_predictions(folder)]
    return sorted(
        (one for one in wrong if one["predicted"] != one["label"]), key=lambda one: -one["probability"]
    )


def _example(line: Prediction, baselines: list[str]) -> Json:
    names = ("id", "text", "text_pair", "label", "predicted", "probability")
    return {name: line[name] for name in names if name in line} | {
        "baselines": {name: line[name] for name in baselines}
    }


def examples(predictions: list[Json], count: int) -> list[Json]:
    """At most `count`: the misclassified from the surest mistake on, then right ones from the least sure on.

    Where there are more than room, they are spread evenly over the probabilities.
    """
    wrong = [one for one in predictions if one["predicted"] != one["label"]]
    shown = spread(sorted(wrong, key=lambda one: -one["probability"]), count)
    if len(shown) == count:
        return shown
    right = [one for one in predictions if one["predicted"] == one["label"]]
    return shown + spread(sorted(right, key=lambda one: one["probability"]), count - len(shown))
