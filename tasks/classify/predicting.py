"""A trained classifier on other test rows: how a champion is measured where the rows have changed."""

from pathlib import Path

from tasks.classify.findings import predictions_of, write_scores
from tasks.classify.outputs import write_predictions
from tasks.classify.tasks import task_of
from tasks.config import PredictConfig
from tasks.machine.device import pick_device
from tasks.models.loading import load_tokenizer
from tasks.models.summary import ModelSummary
from tasks.record.stage import StageRun


def predict(config: PredictConfig, run: StageRun, *, model: Path, rows: Path) -> None:
    """Classify the test split of `rows` with `model/model`, whose tokenizer cuts texts as in its training.

    Writes `predictions.jsonl`, and `scores.json` and `scores.jsonl` as the classify stage does. Raises
    StageError for a row of another kind than the model was trained on.
    """
    run.phase("loading the model")
    summary = ModelSummary.read(model)
    task = task_of(summary.task)
    network = task.load(model / "model").to(pick_device(config.device))
    tokenizer = load_tokenizer(model / "model")
    test = task.read(rows)["test"]
    data = task.tensors(summary.labels, tokenizer, {"test": test}, config.batch_size)
    found = task.predict(network, data, "test")
    predictions = predictions_of(task, test, found)
    write_predictions(run.out, predictions)
    write_scores(task, run.out, test, found)
    run.log_table(predictions, "predictions.json")
    run.progress(len(test), len(test), "rows", "classified")
