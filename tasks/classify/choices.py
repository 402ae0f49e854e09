"""The task of choosing one of several answers to a prompt."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from peft import TaskType
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches import choosing
from tasks.batches.choices import (
    OUTPUTS,
    Choices,
    asked_of,
    choice_loss,
    choice_scores,
    chosen_in,
)
from tasks.batches.choosing import ChoiceModel
from tasks.batches.labelled import Labelled
from tasks.classify import choice_card
from tasks.classify.choice_baselines import choice_baselines
from tasks.classify.mlflow_models import log_script
from tasks.classify.outputs import Prediction
from tasks.classify.task import Baseline, ClassifyTask, Outcome, Phase, Splits
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.classifier import Head
from tasks.preflight.choices import CHOICES, preflight_choices, preflight_chosen
from tasks.preflight.report import Report
from tasks.rows import Alike, Row
from tasks.statistics.bounded import mean_interval
from tasks.statistics.intervals import Sources

ALIKE = 1e-3  # between the probability of a choice in a batch and that of the choice alone
ANSWERED = Schema(
    [
        ColSpec(DataType.string, "choice"),
        ColSpec(DataType.long, "place"),
        ColSpec(Array(DataType.double), "probabilities"),
    ]
)


class MultipleChoice(ClassifyTask):
    """A score for each choice with its prompt, and a softmax over the choices of a row."""

    name = CHOICES
    head = Head(ChoiceModel, TaskType.SEQ_CLS)
    scorer = "metric:accuracy"
    card = choice_card.CARD
    logged: ClassVar = {"eval_accuracy": "validation_accuracy"}

    def require(self, split: str, rows: Sequence[Row]) -> None:
        """Raise StageError for a row that is no prompt with choices of which one is right."""
        for row in rows:
            if not {"prompt", "choices", "answer"} <= row.keys():
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected a prompt, choices and "
                    "which is right. Read the rows with rows.format=choices"
                )

    def labels(self, found: Splits) -> tuple[str, ...]:
        del found
        return OUTPUTS

    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> Choices:
        texts = {split: chosen_in(tokenizer, rows, split) for split, rows in found.items()}
        return Choices(labels, found, texts, tokenizer, batch_size, tokenizer.model_max_length, groups)

    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return choice_loss(output.logits[:, 0], labels, num_items_in_batch)

    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        scores = choice_scores(model, data, data.texts["validation"], heeding, together)
        right = [
            float(int(own.argmax()) == row["answer"])
            for own, row in zip(scores, data.rows["validation"], strict=True)
        ]
        loss = _mean_loss(scores, data.rows["validation"])
        return {"eval_loss": loss, "eval_accuracy": sum(right) / len(right)}

    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        return preflight_choices(config, model, data, phase, corpus)

    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        return preflight_chosen(data, phase, corpus)

    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        scores, rows = choice_scores(model, data, data.texts[split]), data.rows[split]
        return Outcome(
            [row["choices"][int(own.argmax())] for own, row in zip(scores, rows, strict=True)],
            [own.double().softmax(0).max().item() for own in scores],
            _mean_loss(scores, rows),
        )

    def asked(self, row: Row) -> Json:
        return {
            "id": row["id"],
            "prompt": asked_of(row),
            "choices": row["choices"],
            "label": row["choices"][row["answer"]],
        }

    def truth(self, row: Row) -> list[str]:
        """The right choice, before the others."""
        right = row["choices"][row["answer"]]
        return [right, *(choice for place, choice in enumerate(row["choices"]) if place != row["answer"])]

    def score(self, truth: Sequence[str], given: str) -> float:
        return 100.0 if given == truth[0] else 0.0

    def measured(
        self, truth: Sequence[Sequence[str]], given: Sequence[str], labels: Sequence[str], sources: Sources
    ) -> Json:
        """Accuracy with its interval, and that of guessing among as many choices as each row has."""
        del labels
        right = [self.score(true, one) / 100 for true, one in zip(truth, given, strict=True)]
        mean, low, high = mean_interval(right, 0.0, 1.0, sources)
        return {
            "rows": len(right),
            "accuracy": {"mean": mean, "low": low, "high": high},
            "chance": sum(1 / len(choices) for choices in truth) / len(truth),
        }

    def baselines(self, data: Labelled) -> list[Baseline]:
        return choice_baselines(data)

    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        inputs = [self.inputs(row) for row in predictions]
        script = str(Path(choosing.__file__).with_suffix(""))
        return log_script(script, name, folder, inputs, ANSWERED, {"outputs": list(labels)})

    def inputs(self, prediction: Prediction) -> Json:
        return {name: prediction[name] for name in ("prompt", "choices")}

    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        expected = prediction["predicted"], prediction["probability"]
        found = answer["choice"], max(answer["probabilities"])
        if found[0] == expected[0] and abs(found[1] - expected[1]) <= ALIKE:
            return None
        told = (f"{text!r} with {probability:.4f}" for text, probability in (found, expected))
        return ", expected ".join(told)

    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        del model, tokenizer, text
        raise StageError(
            "the model chooses among answers that are given with a prompt, and writes none. Ask it by "
            "mlflow.pyfunc, with columns prompt and choices"
        )


TASK = MultipleChoice()


def _mean_loss(scores: Sequence[Tensor], rows: Sequence[Row]) -> float:
    losses = [
        -own.double().log_softmax(0)[row["answer"]].item() for own, row in zip(scores, rows, strict=True)
    ]
    return sum(losses) / len(losses)
