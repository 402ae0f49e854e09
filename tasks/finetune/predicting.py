"""A trained classifier on other test rows: how a champion is measured where the rows have changed."""

from pathlib import Path

from tasks.batches.evaluation import predict as predicted
from tasks.batches.labelled import Labelled, tokenized
from tasks.config import PredictConfig
from tasks.errors import StageError
from tasks.finetune.findings import write_scores
from tasks.finetune.outputs import Prediction, write_predictions
from tasks.machine.device import pick_device
from tasks.models.classifier import load_classifier
from tasks.models.loading import load_tokenizer
from tasks.models.summary import ModelSummary
from tasks.record.stage import StageRun
from tasks.rows import load_split

UNKNOWN = -1  # the place of a label that the classifier was not trained to give: always wrong


def predict(config: PredictConfig, run: StageRun, *, model: Path, rows: Path) -> None:
    """Classify the test split of `rows` with `model/model`, whose tokenizer cuts texts as in its training.

    Writes `predictions.jsonl`, and `scores.json` and `scores.jsonl` as the classify stage does. Raises
    StageError for a row without a text and a label.
    """
    run.phase("loading the model")
    labels = ModelSummary.read(model).labels
    network = load_classifier(model / "model").to(pick_device(config.device))
    tokenizer = load_tokenizer(model / "model")
    test = load_split(rows, "test")
    if strange := next((row for row in test if not {"text", "label"} <= row.keys()), None):
        raise StageError(
            f"test row {strange.get('id')} holds {', '.join(strange)}; expected a text and its label"
        )
    places = {label: place for place, label in enumerate(labels)}
    texts = tokenized(tokenizer, test, [places.get(str(row["label"]), UNKNOWN) for row in test])
    length = tokenizer.model_max_length
    data = Labelled(labels, {"test": test}, {"test": texts}, tokenizer, config.batch_size, length)
    found = predicted(network, data, texts)
    predictions: list[Prediction] = [
        {
            "id": row["id"],
            "text": row["text"],
            **({"text_pair": row["text_pair"]} if "text_pair" in row else {}),
            "label": row["label"],
            "predicted": labels[place],
            "probability": probability,
            **({"source": row["source"]} if "source" in row else {}),
        }
        for row, place, probability in zip(test, found.predicted, found.probabilities, strict=True)
    ]
    write_predictions(run.out, predictions)
    write_scores(run, predictions)
    run.log_table(predictions, "predictions.json")
    run.progress(len(test), len(test), "rows", "classified")
