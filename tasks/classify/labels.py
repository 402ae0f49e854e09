"""The task of a label for a text, or for two texts together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from mlflow.models.model import ModelInfo
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.evaluation import measured, predict
from tasks.batches.labelled import Labelled, Text, require_like, require_words, tokenized
from tasks.classify import label_card
from tasks.classify.label_baselines import bag_of_words, majority
from tasks.classify.mlflow_models import log_labels
from tasks.classify.outputs import Prediction
from tasks.classify.task import Baseline, ClassifyTask, Outcome, Phase, Splits
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.classifier import LABEL
from tasks.models.summary import CLASSIFICATION
from tasks.preflight.classification import preflight_classification, preflight_texts
from tasks.preflight.report import Report
from tasks.rows import Alike, Row
from tasks.statistics.intervals import Sources
from tasks.tokenize.stage import text_ids

SHOWN = 20  # labels of a confusion matrix whose counts can be read
UNKNOWN = -1  # the place of a label that the classifier was not trained to give: always wrong
ALIKE = 1e-3  # between the probability of a text in a batch and that of the text alone


def mean_loss(output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy in nats, the mean over the rows of the whole optimizer step, of however many batches."""
    total = F.cross_entropy(output.logits.float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class Labels(ClassifyTask):
    """One label of several, by a softmax over all of them."""

    name = CLASSIFICATION
    head = LABEL
    scorer = "metric:accuracy"
    card = label_card.CARD
    logged: ClassVar = {"eval_accuracy": "validation_accuracy"}

    def require(self, split: str, rows: Sequence[Row]) -> None:
        for row in rows:
            if not isinstance(row.get("text"), str) or not isinstance(row.get("label"), str):
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected a text and its label. "
                    "Read the rows with rows.format=classification"
                )

    def read(self, rows: Path) -> Splits:
        found = super().read(rows)
        require_like(found)
        return found

    def labels(self, found: Splits) -> tuple[str, ...]:
        learned = sorted({row["label"] for row in found["train"]})
        if len(learned) < 2:
            raise StageError(
                f"a classifier learns to tell labels apart: found {len(found['train'])} training rows, "
                f"labelled {', '.join(learned) or 'not at all'}; expected at least two labels. Fix the rows"
            )
        return tuple(sorted({row["label"] for members in found.values() for row in members}))

    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> Labelled:
        """Raises StageError for a text without a token."""
        places = {label: place for place, label in enumerate(labels)}
        texts: dict[str, list[Text]] = {}
        for split, members in found.items():
            require_words(split, members, tokenizer)
            known = [places.get(row["label"], UNKNOWN) for row in members]
            texts[split] = tokenized(tokenizer, members, known) if members else []
        return Labelled(labels, found, texts, tokenizer, batch_size, tokenizer.model_max_length, groups)

    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return mean_loss(output, labels, num_items_in_batch)

    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        found = predict(model, data, data.texts["validation"], heeding, together)
        return {"eval_loss": found.loss, "eval_accuracy": found.accuracy}

    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        return preflight_classification(config, model, data, self.loss, phase, corpus)

    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        return preflight_texts(data, phase, corpus)

    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        found = predict(model, data, data.texts[split])
        known = (found.truth != UNKNOWN).all()
        return Outcome(
            [data.labels[place] for place in found.predicted],
            found.probabilities,
            found.loss if known else None,
        )

    def asked(self, row: Row) -> Json:
        pair = {"text_pair": row["text_pair"]} if "text_pair" in row else {}
        return {"id": row["id"], "text": row["text"], **pair, "label": row["label"]}

    def truth(self, row: Row) -> str:
        return row["label"]

    def score(self, truth: str, given: str) -> float:
        return 100.0 if given == truth else 0.0

    def measured(
        self, truth: Sequence[str], given: Sequence[str], labels: Sequence[str], sources: Sources
    ) -> Json:
        places = {label: place for place, label in enumerate(labels)}
        return measured([places[one] for one in truth], [places[one] for one in given], labels, sources)

    def baselines(self, data: Labelled) -> list[Baseline]:
        return [majority(data), bag_of_words(data)]

    def draw(self, folder: Path, labels: Sequence[str], splits: Mapping[str, Json]) -> None:
        _draw_confusion(folder / "confusion.png", labels, splits)

    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        return log_labels(name, folder, labels, [self.inputs(row) for row in predictions])

    def inputs(self, prediction: Prediction) -> Json:
        return {name: prediction[name] for name in ("text", "text_pair") if name in prediction}

    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        found = f"{answer['label']} with {answer['score']:.4f}"
        expected = f"{prediction['predicted']} with {prediction['probability']:.4f}"
        apart = abs(prediction["probability"] - answer["score"]) > ALIKE
        is_other = prediction["predicted"] != answer["label"] or apart
        return f"{found}, expected {expected}" if is_other else None

    @torch.no_grad()
    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        shares = model(input_ids=torch.tensor(text_ids(tokenizer, [text]))).logits[0].softmax(dim=-1).tolist()
        labels = [model.config.id2label[place] for place in range(len(shares))]
        ordered = sorted(zip(shares, labels, strict=True), reverse=True)
        return ", ".join(f"{label} {100 * share:.1f}%" for share, label in ordered)


TASK = Labels()


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
