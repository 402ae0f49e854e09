"""How a model in training responds to validation rows: what weights may be kept by, instead of their loss.

A loss is a mean over tokens of references; what the model writes by itself may be best before or after that
is lowest.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from tasks.batches.tuning import PreferenceData, TuningData
from tasks.config import GenerateConfig, ScoredTuningConfig
from tasks.errors import StageError
from tasks.generate.decoding import Prompt
from tasks.generate.in_training import Stop, decoded
from tasks.judge.score.metrics import METRICS, SUMMARY_METRICS, metric_scores
from tasks.rows import Row
from tasks.tokenize.templates import Template

BATCH_TOKENS = 32_768  # decoded at once


@dataclass(frozen=True)
class ValidationScore:
    """The mean of a metric over the greedy responses to some validation rows."""

    metric: str
    template: Template
    rows: list[Row]
    prompts: list[Prompt]
    config: GenerateConfig

    def of(self, model: PreTrainedModel | PeftModel, stop: Stop) -> float:
        """The mean, from 0 to 100."""
        return fmean(self.by_row(model, stop))

    def by_row(self, model: PreTrainedModel | PeftModel, stop: Stop) -> list[float]:
        """From 0 to 100 each, in the order of the rows."""
        tokenizer = self.template.tokenizer
        responses = decoded(model, tokenizer, self.config, self.prompts, BATCH_TOKENS, stop)
        name = f"metric:{self.metric}"
        metric = {name: (METRICS | SUMMARY_METRICS)[name]}
        texts = map(self.template.response, responses)
        pairs = zip(texts, self.rows, strict=True)
        return [metric_scores(text, row["output"], metric)[name] for text, row in pairs]


def validation_score(config: ScoredTuningConfig, data: TuningData | PreferenceData) -> ValidationScore | None:
    """What weights are kept by; None where that is their loss.

    A response may have as many tokens as the longest reference of these rows, and an end token.

    Raises StageError when there are no validation rows with a reference.
    """
    if config.keep_by == "loss":
        return None
    rows = [row for row in data.rows["validation"] if row["output"].strip()][: config.keep_rows]
    if not rows:
        raise StageError(
            f"keep_by is {config.keep_by}, and no validation row has a reference that a response could be "
            "scored by. Give validation rows (rows.validation), or set keep_by=loss"
        )
    tokenizer = data.template.tokenizer
    references = tokenizer([row["output"] for row in rows], add_special_tokens=False).input_ids
    limit = max(map(len, references)) + 1
    prompts = [
        Prompt(place, ids, max(1, min(limit, data.max_length - len(ids))))
        for place, ids in enumerate(data.template.prompts_ids(rows))
    ]
    own = GenerateConfig(template=config.template, max_new_tokens=limit)
    return ValidationScore(config.keep_by, data.template, rows, prompts, own)


def told(score: ValidationScore | None) -> dict[str, Any]:
    """What a summary tells of it."""
    return {} if score is None else {"keep_by": score.metric, "keep_rows": len(score.rows)}
