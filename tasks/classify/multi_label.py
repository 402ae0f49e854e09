"""The task of any number of labels for a text: a yes or no for each, by a sigmoid."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mlflow.models.model import ModelInfo
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.evaluation import predicted_logits
from tasks.batches.labelled import Labelled, Text, require_like, require_words, tokenized
from tasks.classify import multi_label_card
from tasks.classify.label_baselines import SIGNS, STEPS
from tasks.classify.mlflow_models import ROWS_OF_LABELS, log_script
from tasks.classify.outputs import Prediction
from tasks.classify.task import Baseline, ClassifyTask, Outcome, Phase, Splits
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.classifier import LABELS
from tasks.preflight.checks import Check
from tasks.preflight.classification import checks_of_model, report_of
from tasks.preflight.report import CheckResult, Report
from tasks.rows import Alike, Row
from tasks.rows.labelled_texts import parts
from tasks.rows.multi_label import NAME
from tasks.statistics.bounded import mean_interval
from tasks.statistics.intervals import Sources
from tasks.tokenize.stage import text_ids

THRESHOLD = 0.5  # from which probability on a label is given: where the loss is indifferent


@dataclass(frozen=True)
class MultiLabelled(Labelled):
    """Texts whose `label` is a 0 or 1 for each label."""

    def targets(self, texts: Sequence[Text], longest: int) -> Tensor:
        """(texts, labels), 1 where a text has the label."""
        del longest
        return torch.tensor([text.label for text in texts], dtype=torch.float32)


class MultiLabel(ClassifyTask):
    """A label is given from a probability of one half on."""

    name = NAME
    head = LABELS
    scorer = "metric:labels-f1"
    card = multi_label_card.CARD
    logged: ClassVar = {"eval_f1": "validation_f1"}

    def require(self, split: str, rows: Sequence[Row]) -> None:
        for row in rows:
            if not isinstance(row.get("text"), str) or not isinstance(row.get("labels"), list):
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected a text and its labels. "
                    "Read the rows with rows.format=multi-label"
                )

    def read(self, rows: Path) -> Splits:
        found = super().read(rows)
        require_like(found)
        return found

    def labels(self, found: Splits) -> tuple[str, ...]:
        learned = {label for row in found["train"] for label in row["labels"]}
        if len(learned) < 2:
            raise StageError(
                f"a classifier of several labels learns to tell them apart: found {len(learned)} among "
                f"{len(found['train'])} training rows; expected at least two. Fix the rows"
            )
        return tuple(sorted({label for rows in found.values() for row in rows for label in row["labels"]}))

    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> Labelled:
        """Raises StageError for a text without a token."""
        texts: dict[str, list[Text]] = {}
        for split, members in found.items():
            require_words(split, members, tokenizer)
            places = [_places(row["labels"], labels) for row in members]
            texts[split] = tokenized(tokenizer, members, places) if members else []
        return MultiLabelled(labels, found, texts, tokenizer, batch_size, tokenizer.model_max_length, groups)

    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Binary cross-entropy, the mean over texts and labels."""
        total = F.binary_cross_entropy_with_logits(output.logits.float(), labels, reduction="sum")
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        texts = data.texts["validation"]
        logits = together(predicted_logits(model, data, texts, heeding))
        truth = data.targets(texts, 0)
        scores = [
            self.score(row["labels"], given)
            for row, given in zip(data.rows["validation"], _given(logits, data.labels), strict=True)
        ]
        loss = F.binary_cross_entropy_with_logits(logits.double(), truth.double()).item()
        return {"eval_loss": loss, "eval_f1": sum(scores) / len(scores) / 100}

    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        checks = checks_of_model(config, model, data, self.loss, np.log(2).item())
        return _report(checks, data, phase, corpus)

    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        return _report([], data, phase, corpus)

    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        logits = predicted_logits(model, data, data.texts[split]).double()
        known = {label for row in data.rows[split] for label in row["labels"]} <= set(data.labels)
        truth = data.targets(data.texts[split], 0).double()
        loss = F.binary_cross_entropy_with_logits(logits, truth).item() if known else None
        sure = torch.maximum(logits.sigmoid(), 1 - logits.sigmoid()).amin(dim=1)
        return Outcome(_given(logits, data.labels), sure.tolist(), loss)

    def asked(self, row: Row) -> Json:
        return {"id": row["id"], **parts(row), "labels": row["labels"]}

    def truth(self, row: Row) -> list[str]:
        return row["labels"]

    def score(self, truth: Sequence[str], given: Sequence[str]) -> float:
        """F1 of a row's labels; of no labels that are to be none it is 100."""
        every = len(truth) + len(given)
        return 100.0 * 2 * len({*truth} & {*given}) / every if every else 100.0

    def measured(
        self,
        truth: Sequence[Sequence[str]],
        given: Sequence[Sequence[str]],
        labels: Sequence[str],
        sources: Sources,
    ) -> Json:
        scores = [self.score(*pair) / 100 for pair in zip(truth, given, strict=True)]
        mean, low, high = mean_interval(scores, 0.0, 1.0, sources)
        pairs = list(zip(map(set, truth), map(set, given), strict=True))
        counted = {
            label: [
                sum(label in one and label in other for one, other in pairs),
                sum(label in one for one, _ in pairs),
                sum(label in other for _, other in pairs),
            ]
            for label in labels
        }
        both, true, told = (sum(counts[place] for counts in counted.values()) for place in range(3))
        f1 = {label: _f1(*counts) for label, counts in counted.items()}
        return {
            "rows": len(truth),
            "labels_f1": {"mean": mean, "low": low, "high": high},
            "micro_f1": _f1(both, true, told),
            "macro_f1": sum(f1.values()) / len(f1),
            "exact_match": sum(one == other for one, other in pairs) / len(pairs),
            "hamming_loss": sum(len(one ^ other) for one, other in pairs) / len(pairs) / len(labels),
            "f1": f1,
        }

    def baselines(self, data: Labelled) -> list[Baseline]:
        return [_most_frequent(data), _bag_of_words(data)]

    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        inputs = [self.inputs(row) for row in predictions]
        return log_script("labels", name, folder, inputs, ROWS_OF_LABELS, {"labels": list(labels)})

    def inputs(self, prediction: Prediction) -> Json:
        return parts(prediction)

    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        if list(answer["labels"]) == prediction["predicted"]:
            return None
        found, expected = (", ".join(one) or "none" for one in (answer["labels"], prediction["predicted"]))
        return f"{found}, expected {expected}"

    @torch.no_grad()
    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        shares = model(input_ids=torch.tensor(text_ids(tokenizer, [text]))).logits[0].sigmoid().tolist()
        labels = [model.config.id2label[place] for place in range(len(shares))]
        ordered = sorted(zip(shares, labels, strict=True), reverse=True)
        return ", ".join(f"{label} {100 * share:.1f}%" for share, label in ordered)


TASK = MultiLabel()


def _places(own: Sequence[str], labels: Sequence[str]) -> list[float]:
    return [float(label in own) for label in labels]


def _given(logits: Tensor, labels: Sequence[str]) -> list[list[str]]:
    """The labels that are given each text, by name."""
    chosen = (logits.sigmoid() >= THRESHOLD).tolist()
    return [[label for label, is_given in zip(labels, row, strict=True) if is_given] for row in chosen]


def _f1(both: int, true: int, told: int) -> float:
    return 2 * both / (true + told) if true + told else 0.0


def _report(checks: Sequence[Check], data: Labelled, phase: Phase, corpus: Split | None) -> Report:
    own = [Check("labels known", lambda: labels_learned(data))]
    row = data.rows["train"][0]
    return report_of(checks, own, data, phase, corpus, f"labels {', '.join(row['labels']) or 'none'}")


def labels_learned(data: Labelled) -> CheckResult:
    """Every label is there in the training rows, and missing in some of them, so that it can be learned."""
    name, expected = "labels known", "every label is one of some training rows, and not of all"
    counts = np.array([text.label for text in data.texts["train"]]).sum(axis=0)
    rows = len(data.texts["train"])
    odd = [label for label, count in zip(data.labels, counts, strict=True) if not 0 < count < rows]
    if odd:
        every = [(split, row) for split, rows in data.rows.items() for row in rows]
        where = next(f"{split} row {row['id']}" for split, row in every if odd[0] in row["labels"])
        found = f"{len(odd)} of {len(data.labels)} labels; the first is {odd[0]!r}"
        return CheckResult(name, "failed", found, expected, where)
    return CheckResult(name, "passed", f"{rows:,} training rows, labels {', '.join(data.labels)}", expected)


def _most_frequent(data: Labelled) -> Baseline:
    """The most frequent labels of a training row, for every text; of equally frequent ones the first."""
    counts = Counter(tuple(row["labels"]) for row in data.rows["train"])
    chosen = min(counts, key=lambda labels: (-counts[labels], labels))
    share = counts[chosen] / len(data.rows["train"])
    said = ", ".join(chosen) or "no label"
    return Baseline(
        "majority",
        f"always {said}, the labels of {share:.1%} of the training rows",
        [list(chosen) for _ in data.rows["test"]],
    )


def _bag_of_words(data: Labelled) -> Baseline:
    """For each label a logistic regression on the words and signs of the training rows."""
    words = {split: ["\n".join(parts(row).values()) for row in rows] for split, rows in data.rows.items()}
    vectors = TfidfVectorizer(token_pattern=SIGNS)
    train, test = vectors.fit_transform(words["train"]), vectors.transform(words["test"])
    truth = np.array([text.label for text in data.texts["train"]])
    given = np.zeros((test.shape[0], len(data.labels)))
    for place, own in enumerate(truth.T):
        if len(set(own)) == 1:
            given[:, place] = own[0]
        else:
            given[:, place] = LogisticRegression(C=10.0, max_iter=STEPS).fit(train, own).predict(test)
    return Baseline(
        "bag of words",
        "for each label a logistic regression on tf-idf of words and signs, C = 10",
        [[label for label, own in zip(data.labels, row, strict=True) if own] for row in given],
    )
