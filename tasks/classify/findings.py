"""What the classify stage writes of its evaluation: numbers, predictions, pictures, and a page in words."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tasks.batches.labelled import Labelled
from tasks.classify.card import comparison, comparison_detail, headline_interval
from tasks.classify.outputs import Evaluation, Prediction, write_predictions
from tasks.classify.task import Baseline, ClassifyTask, Outcome
from tasks.classify.tasks import card_of
from tasks.judge.score.outputs import ScoreSummary, write_score_lines
from tasks.judge.score.summary import summarise
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.rows import Row
from tasks.show.document import Bullet, Bullets, Cell, Document, Section, table_of
from tasks.show.text import percent
from tasks.statistics.bounded import mean_interval
from tasks.statistics.comparing import paired_test
from tasks.statistics.intervals import Sources


def write_findings(task: ClassifyTask, run: StageRun, model: PreTrainedModel, data: Labelled) -> None:
    """Measure the model on every split and against the baselines on the test rows.

    Writes `evaluation.json`, `predictions.jsonl`, `scores.json` and `scores.jsonl`, and what the task draws
    aside.
    """
    found = {split: task.predict(model, data, split) for split, rows in data.rows.items() if rows}
    sources = {split: sources_of(data.rows[split]) for split in found}
    test, baselines = found["test"], task.baselines(data)
    truth = {split: [task.truth(row) for row in data.rows[split]] for split in found}
    splits = {
        split: _split(task.measured(truth[split], outcome.given, data.labels, sources[split]), outcome.loss)
        for split, outcome in found.items()
    }
    evaluation = Evaluation(
        labels=list(data.labels),
        positive=None,
        splits=splits,
        baselines=[
            _against(task, truth["test"], test, baseline, data.labels, sources["test"])
            for baseline in baselines
        ],
        task=task.name,
        measure=task.card.measure,
    )
    predictions = predictions_of(task, data.rows["test"], test, baselines)
    evaluation.write(run.out)
    write_predictions(run.out, predictions)
    write_scores(task, run.out, data.rows["test"], test)
    task.draw(run.auxiliary, data.labels, splits)
    run.log_metrics(_metrics(task, evaluation))
    run.log_table(predictions, "predictions.json")
    page = comparison_page(evaluation)
    run.log_document("classification", page, "Classification against its baselines")


def sources_of(rows: Sequence[Row]) -> list[str | None]:
    """What each row is of, where others are of it."""
    return [row.get("source") for row in rows]


def _split(numbers: Json, loss: float) -> Json:
    return {"rows": numbers.pop("rows"), "loss": loss, **numbers}


def _against(
    task: ClassifyTask,
    truth: Sequence[Any],
    test: Outcome,
    baseline: Baseline,
    labels: Sequence[str],
    sources: Sources,
) -> Json:
    numbers = task.measured(truth, baseline.predicted, labels, sources)
    kept = task.card.baseline_numbers or [name for name in numbers if name != "rows"]
    return {
        "name": baseline.name,
        "description": baseline.description,
        **{name: numbers[name] for name in kept},
        **_mean_score(task, truth, baseline, sources),
        **compared(task, truth, test.given, baseline.predicted, sources),
    }


def _mean_score(task: ClassifyTask, truth: Sequence[Any], baseline: Baseline, sources: Sources) -> Json:
    """From 0 to 1, where that is not the headline: it stands beside the classifier's own mean of scores."""
    if not task.card.score:
        return {}
    scores = [task.score(true, one) / 100 for true, one in zip(truth, baseline.predicted, strict=True)]
    mean, low, high = mean_interval(scores, 0.0, 1.0, sources)
    return {"score": {"mean": mean, "low": low, "high": high}}


def compared(
    task: ClassifyTask, truth: Sequence[Any], ours: Sequence[Any], theirs: Sequence[Any], sources: Sources
) -> Json:
    """What `ours` gains over `theirs` on the same rows, in points of their scores, paired."""
    own, other = (
        [task.score(true, one) for true, one in zip(truth, given, strict=True)] for given in (ours, theirs)
    )
    found = asdict(paired_test(own, other, sources))
    return {"p_value": found.pop("p"), "difference": found}


def predictions_of(
    task: ClassifyTask, rows: Sequence[Row], found: Outcome, baselines: Sequence[Baseline] = ()
) -> list[Prediction]:
    """A line a row; a baseline's answer stands under its name."""
    return [
        {
            **task.asked(row),
            "predicted": given,
            "probability": probability,
            **({"source": row["source"]} if "source" in row else {}),
            **{baseline.name: baseline.predicted[place] for baseline in baselines},
        }
        for place, (row, given, probability) in enumerate(
            zip(rows, found.given, found.probabilities, strict=True)
        )
    ]


def scores_of(task: ClassifyTask, rows: Sequence[Row], found: Outcome) -> list[float]:
    """How right what each row was given is, from 0 to 100."""
    return [task.score(task.truth(row), given) for row, given in zip(rows, found.given, strict=True)]


def write_scores(task: ClassifyTask, folder: Path, rows: Sequence[Row], found: Outcome) -> None:
    """The test rows' scores as the judge writes those of responses: a right answer has 100."""
    scores = scores_of(task, rows, found)
    sources = sources_of(rows)
    lines = [
        {"id": row["id"], task.scorer: score} | ({"source": source} if source else {})
        for row, score, source in zip(rows, scores, sources, strict=True)
    ]
    write_score_lines(folder, lines)
    summary = summarise(task.scorer, "metric", scores, max_missing=0.0, sources=sources)
    ScoreSummary(headline=task.scorer, scores=[summary], categories={}).write(folder)


def _metrics(task: ClassifyTask, evaluation: Evaluation) -> dict[str, float]:
    numbers = {}
    for split, own in evaluation.splits.items():
        name = split if split == "test" else f"best_{split}"  # the bare names are those of the curves
        numbers[f"{name}_loss"] = own["loss"]
        for measure in task.card.measures:
            found = own[measure]
            numbers[f"{name}_{measure}"] = found["mean"] if measure == task.card.measure else found
    for baseline in evaluation.baselines:
        name = baseline["name"].replace(" ", "_")
        numbers[f"{name}_{task.card.measure}"] = baseline[task.card.measure]["mean"]
        numbers[f"difference_to_{name}"] = baseline["difference"]["difference"]
        numbers[f"p_value_against_{name}"] = baseline["p_value"]
    return numbers


def comparison_page(evaluation: Evaluation) -> Document:
    """The evaluation in short; what is not shown to be better is not said to be."""
    card = card_of(evaluation.as_json())
    rows = [
        {
            "baseline": one["name"],
            card.headline: Cell(percent(one[card.measure]["mean"]), headline_interval(one[card.measure])),
            "difference": comparison_detail(one, card.test),
        }
        for one in evaluation.baselines
    ]
    verdicts = [Bullet(f"{comparison(one)}: {one['description']}") for one in evaluation.baselines]
    return Document(
        kind="classification",
        title="Classification against its baselines",
        subtitle=f"{evaluation.splits['test']['rows']:,} test {card.thing}s",
        sections=[
            Section("Splits", [card.splits(evaluation.as_json())]),
            Section("Baselines", [table_of(rows), Bullets(verdicts)]),
        ],
    )
