"""The task of a question on a passage whose answer is a span of it, or that has none there."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema
from peft import TaskType
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches import answering
from tasks.batches.answering import Answer, best_answer, longest_answer
from tasks.batches.labelled import Labelled
from tasks.batches.questions import OUTPUTS, Questions, SpanLogits, asked_in, span_logits, span_loss
from tasks.classify import question_card
from tasks.classify.answers import exact_match, f1
from tasks.classify.mlflow_models import log_script
from tasks.classify.outputs import Prediction
from tasks.classify.question_baselines import question_baselines
from tasks.classify.task import Baseline, ClassifyTask, Outcome, Phase, Splits
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.classifier import Head
from tasks.models.spans import SpanModel
from tasks.preflight.questions import QUESTIONS, preflight_asked, preflight_questions
from tasks.preflight.report import Report
from tasks.rows import Alike, Row
from tasks.statistics.bounded import mean_interval
from tasks.statistics.intervals import Sources

ALIKE = 1e-3  # between the probability of an answer in a batch and that of the answer alone

ANSWERED = Schema(
    [
        ColSpec(DataType.string, "answer"),
        ColSpec(DataType.long, "start", required=False),
        ColSpec(DataType.long, "end", required=False),
        ColSpec(DataType.double, "probability"),
    ]
)


class QuestionAnswering(ClassifyTask):
    """Two logits a token: that the answer starts there, and that it ends there."""

    name = QUESTIONS
    head = Head(SpanModel, TaskType.QUESTION_ANS)
    scorer = "metric:f1"
    card = question_card.CARD
    logged: ClassVar = {"eval_f1": "validation_f1"}

    def require(self, split: str, rows: Sequence[Row]) -> None:
        """Raise StageError for a row that is no question on a context with its answers."""
        for row in rows:
            if not {"context", "question", "answers"} <= row.keys():
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected a context, a question and "
                    "its answers. Read the rows with rows.format=questions"
                )

    def labels(self, found: Splits) -> tuple[str, ...]:
        if not any(row["answers"]["text"] for row in found["train"]):
            raise StageError(
                f"none of {len(found['train'])} training questions has an answer, so that there is nothing "
                "to find; expected some with an answer. Fix the rows"
            )
        return OUTPUTS

    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> Questions:
        texts = {split: asked_in(tokenizer, rows, split) for split, rows in found.items()}
        return Questions(labels, found, texts, tokenizer, batch_size, tokenizer.model_max_length, groups)

    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return span_loss(output.start_logits, output.end_logits, labels, num_items_in_batch)

    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        found = span_logits(model, data, data.texts["validation"], heeding, together)
        given = [answer.text for answer in answers_of(data, "validation", found)]
        truth = [self.truth(row) for row in data.rows["validation"]]
        values = [f1(one, right) for one, right in zip(given, truth, strict=True)]
        return {"eval_loss": found.loss, "eval_f1": sum(values) / len(values)}

    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        return preflight_questions(config, model, data, phase, corpus)

    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        return preflight_asked(data, phase, corpus)

    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        found = span_logits(model, data, data.texts[split])
        answers = answers_of(data, split, found)
        return Outcome(
            [answer.text for answer in answers], [answer.probability for answer in answers], found.loss
        )

    def asked(self, row: Row) -> Json:
        return {name: row[name] for name in ("id", "context", "question")} | {
            "answers": row["answers"]["text"]
        }

    def truth(self, row: Row) -> list[str]:
        return row["answers"]["text"]

    def score(self, truth: Sequence[str], given: str) -> float:
        return 100.0 * f1(given, truth)

    def measured(
        self, truth: Sequence[Sequence[str]], given: Sequence[str], labels: Sequence[str], sources: Sources
    ) -> Json:
        """F1 and exact match of all questions, and of those that have an answer and those that have none."""
        del labels
        pairs = list(zip(given, truth, strict=True))
        f1s, exact = [f1(*pair) for pair in pairs], [exact_match(*pair) for pair in pairs]
        kinds = {
            kind: [place for place, right in enumerate(truth) if bool(right) is answerable]
            for kind, answerable in (("answerable", True), ("unanswerable", False))
        }
        return {
            "rows": len(pairs),
            "f1": _interval(f1s, sources),
            "exact_match": sum(exact) / len(exact),
            "exact_match_interval": _interval(exact, sources),
            **{
                kind: {
                    "rows": len(places),
                    "f1": _mean(f1s, places),
                    "exact_match": _mean(exact, places),
                    "given_none": _mean([float(not one) for one in given], places),
                }
                for kind, places in kinds.items()
                if places
            },
        }

    def baselines(self, data: Labelled) -> list[Baseline]:
        return question_baselines(data)

    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        inputs = [self.inputs(row) for row in predictions]
        script = str(Path(answering.__file__).with_suffix(""))
        return log_script(script, name, folder, inputs, ANSWERED, {"outputs": list(labels)})

    def inputs(self, prediction: Prediction) -> Json:
        return {name: prediction[name] for name in ("context", "question")}

    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        expected = prediction["predicted"], prediction["probability"]
        found = answer["answer"], answer["probability"]
        if found[0] == expected[0] and abs(found[1] - expected[1]) <= ALIKE:
            return None
        told = (f"{text!r} with {probability:.4f}" for text, probability in (found, expected))
        return ", expected ".join(told)

    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        del model, tokenizer, text
        raise StageError(
            "the model finds the answer to a question in a text that is given with it, and writes none. Ask "
            "it by mlflow.pyfunc, with columns context and question"
        )


TASK = QuestionAnswering()


def answers_of(data: Questions, split: str, found: SpanLogits) -> list[Answer]:
    """The best answer to each question of a split, in the order of its rows."""
    answers = []
    for row, places in zip(data.rows[split], data.windows_by_row(split), strict=True):
        windows = [data.texts[split][place].window for place in places]
        starts, ends = zip(*map(found.of, places), strict=True)
        answers.append(
            best_answer(row["context"], windows, list(starts), list(ends), longest_answer(data.max_length))
        )
    return answers


def _interval(values: Sequence[float], sources: Sources) -> Json:
    mean, low, high = mean_interval(values, 0.0, 1.0, sources)
    return {"mean": mean, "low": low, "high": high}


def _mean(values: Sequence[float], places: Sequence[int]) -> float:
    return sum(values[place] for place in places) / len(places)
