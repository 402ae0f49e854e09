"""A classifier and its baselines on the same test rows, as the classify stage found them."""

from pathlib import Path
from typing import Any

from tasks.config import ReportConfig
from tasks.machine.json_files import read_json, read_lines
from tasks.report.samples import spread

CLASSIFIER = "classifier"  # the input's name, and the model's in the table of scores

Json = dict[str, Any]


def classified(config: ReportConfig, folder: Path) -> Json:
    """The evaluation as it stands, and some test texts, the misclassified ones first."""
    scores = read_json(folder / "scores.json")
    evaluation = read_json(folder / "evaluation.json")
    names = [baseline["name"] for baseline in evaluation["baselines"]]
    predictions = [_example(line, names) for line in read_lines(folder / "predictions.jsonl")]
    return {
        "headline": scores["headline"],
        "scores": [{"model": CLASSIFIER} | entry for entry in scores["scores"]],
        "evaluation": evaluation,
        "examples": {
            "of": len(predictions),
            "wrong": sum(one["predicted"] != one["label"] for one in predictions),
            "rows": examples(predictions, config.samples),
        },
    }


def _example(line: Json, baselines: list[str]) -> Json:
    return {name: line[name] for name in ("id", "text", "label", "predicted", "probability")} | {
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
