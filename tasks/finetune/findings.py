"""What the classify stage writes of its evaluation: numbers, predictions, a picture, and a page in words."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from transformers import PreTrainedModel

from tasks.batches.evaluation import Predictions, compared, measured, predict
from tasks.batches.labelled import Labelled
from tasks.finetune.baselines import Baseline, bag_of_words, majority
from tasks.finetune.outputs import Evaluation, Prediction, write_predictions
from tasks.judge.score.outputs import ScoreSummary, write_score_lines
from tasks.judge.score.summary import summarise
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.statistics.intervals import Sources
from tasks.statistics.verdicts import shows

SCORER = "metric:accuracy"
SHOWN = 20  # labels of a confusion matrix whose counts can be read


def write_findings(run: StageRun, model: PreTrainedModel, data: Labelled) -> None:
    """Measure the model on every split and against the baselines on the test rows.

    Writes `evaluation.json`, `predictions.jsonl`, `scores.json` and `scores.jsonl`, and the confusion
    matrices as a picture aside.
    """
    found = {split: predict(model, data, texts) for split, texts in data.texts.items() if texts}
    sources = {split: [row.get("source") for row in data.rows[split]] for split in found}
    splits = {split: _split(predictions, data.labels, sources[split]) for split, predictions in found.items()}
    test, baselines = found["test"], [majority(data), bag_of_words(data)]
    evaluation = Evaluation(
        labels=list(data.labels),
        positive=None,
        splits=splits,
        baselines=[_against(test, baseline, data.labels, sources["test"]) for baseline in baselines],
    )
    predictions = _predictions(data, test, baselines)
    evaluation.write(run.out)
    write_predictions(run.out, predictions)
    write_scores(run, predictions)
    _draw_confusion(run.auxiliary / "confusion.png", data.labels, splits)
    run.log_metrics(_metrics(evaluation))
    run.log_table(predictions, "predictions.json")
    run.log_page("classification", comparison_page(evaluation), "Classification against its baselines")


def _split(found: Predictions, labels: Sequence[str], sources: Sources) -> Json:
    numbers = measured(found.truth.tolist(), found.predicted, labels, sources)
    return {"rows": numbers.pop("rows"), "loss": found.loss, **numbers}


def _against(test: Predictions, baseline: Baseline, labels: Sequence[str], sources: Sources) -> Json:
    truth = test.truth.tolist()
    numbers = measured(truth, baseline.predicted, labels, sources)
    return {
        "name": baseline.name,
        "description": baseline.description,
        **{name: numbers[name] for name in ("accuracy", "macro_f1", "confusion")},
        **compared(truth, test.predicted, baseline.predicted, sources),
    }


def _predictions(data: Labelled, test: Predictions, baselines: Sequence[Baseline]) -> list[Prediction]:
    """A line a test row; a baseline's label stands under its name."""
    return [
        {
            "id": row["id"],
            "text": row["text"],
            **({"text_pair": row["text_pair"]} if "text_pair" in row else {}),
            "label": row["label"],
            "predicted": data.labels[predicted],
            "probability": probability,
            **({"source": row["source"]} if "source" in row else {}),
            **{baseline.name: data.labels[baseline.predicted[place]] for baseline in baselines},
        }
        for place, (row, predicted, probability) in enumerate(
            zip(data.rows["test"], test.predicted, test.probabilities, strict=True)
        )
    ]


def write_scores(run: StageRun, predictions: Sequence[Prediction]) -> None:
    """The test rows' scores as the judge writes those of responses: a right label has 100, a wrong one 0."""
    scores = [100.0 if row["predicted"] == row["label"] else 0.0 for row in predictions]
    sources = [row.get("source") for row in predictions]
    lines = [
        {"id": row["id"], SCORER: score} | ({"source": source} if source else {})
        for row, score, source in zip(predictions, scores, sources, strict=True)
    ]
    write_score_lines(run.out, lines)
    summary = summarise(SCORER, "metric", scores, max_missing=0.0, sources=sources)
    ScoreSummary(headline=SCORER, scores=[summary], categories={}).write(run.out)


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    numbers = {}
    for split, own in evaluation.splits.items():
        name = split if split == "test" else f"best_{split}"  # the bare names are those of the curves
        numbers[f"{name}_loss"] = own["loss"]
        numbers[f"{name}_accuracy"] = own["accuracy"]["mean"]
        numbers[f"{name}_macro_f1"] = own["macro_f1"]
    for baseline in evaluation.baselines:
        name = baseline["name"].replace(" ", "_")
        numbers[f"{name}_accuracy"] = baseline["accuracy"]["mean"]
        numbers[f"difference_to_{name}"] = baseline["difference"]["difference"]
        numbers[f"p_value_against_{name}"] = baseline["p_value"]
    return numbers


def _draw_confusion(path: Path, labels: Sequence[str], splits: dict[str, Json]) -> None:
    """A matrix a split: true labels down, predicted ones across, shaded by the share of the true label."""
    size = max(3.0, 0.35 * len(labels))
    figure = Figure(figsize=(size * len(splits) + 1, size + 0.8), layout="constrained")
    for axes, (split, numbers) in zip(
        figure.subplots(1, len(splits), squeeze=False)[0], splits.items(), strict=True
    ):
        counts = numbers["confusion"]
        shares = [[count / max(1, sum(row)) for count in row] for row in counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for true, row in enumerate(counts if len(labels) <= SHOWN else []):
            for predicted, count in enumerate(row):
                color = "white" if shares[true][predicted] > 0.5 else "black"
                axes.text(predicted, true, f"{count:,}", ha="center", va="center", color=color)
        axes.set(title=f"{split}: {numbers['accuracy']['mean']:.1%}", xlabel="predicted")
        axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 4 else 0)
        axes.set_yticks(range(len(labels)), labels)
    figure.axes[0].set_ylabel("true")
    figure.savefig(path, dpi=120)


def comparison_page(evaluation: Evaluation) -> str:
    """The evaluation as a page of Markdown; what is not shown to be better is not said to be."""
    lines = [
        "# Classification",
        "",
        "| split | rows | loss | accuracy (95%) | macro F1 |",
        "|" + " --- |" * 5,
    ]
    for split, own in evaluation.splits.items():
        accuracy = _with_interval(own["accuracy"])
        lines.append(
            f"| {split} | {own['rows']:,} | {own['loss']:.4f} | {accuracy} | {own['macro_f1']:.3f} |"
        )
    lines += ["", "On the test rows, against simpler ways trained on the same rows:", ""]
    lines += ["| baseline | accuracy (95%) | macro F1 | difference (95%) | p (McNemar) |", "|" + " --- |" * 5]
    for baseline in evaluation.baselines:
        gain = baseline["difference"]
        lines.append(
            f"| {baseline['name']} | {_with_interval(baseline['accuracy'])} | {baseline['macro_f1']:.3f} "
            f"| {gain['difference']:+.1f} points ({gain['low']:+.1f} to {gain['high']:+.1f}) "
            f"| {baseline['p_value']:.2g} |"
        )
    lines += ["", *(f"- {_verdict(baseline)}" for baseline in evaluation.baselines)]
    return "\n".join(lines) + "\n"


def _with_interval(share: Json) -> str:
    return f"{share['mean']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def _verdict(baseline: Json) -> str:
    gain = baseline["difference"]
    verdict = {"better": "Better than", "worse": "Worse than", "open": "Not shown to be better than"}[
        shows(gain, baseline["p_value"])
    ]
    interval = f"{gain['difference']:+.1f} points, 95% {gain['low']:+.1f} to {gain['high']:+.1f}"
    return f"{verdict} {baseline['name']} ({interval}): {baseline['description']}"
