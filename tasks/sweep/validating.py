"""The validate stage: a trained model's number on validation rows, one by one.

What a training tells of validation is one number. How far the best of several flatters itself depends on how
that number would change with the rows, so that each row's part of it is needed.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.batches.supervised import supervise
from tasks.batches.tuning import TuningData, preference_data, sft_data
from tasks.classify.predicting import TrainedClassifier
from tasks.config import FinetuneConfig, PretrainConfig, ScoredTuningConfig, ValidateConfig
from tasks.data.token_files import IGNORED, load_tokens
from tasks.finetune.scored import validation_score
from tasks.machine.device import pick_device
from tasks.machine.json_files import Json
from tasks.models.architectures import HuggingFaceCausal, longest
from tasks.models.kernels import loss_by_token
from tasks.models.kinds import is_seq2seq
from tasks.models.loading import load_causal, load_model
from tasks.pretrain.losses import parts_of, token_losses
from tasks.record.stage import StageRun
from tasks.rows import Row
from tasks.sweep.outputs import RowValues

ROWS, SOURCES = "rows", "sources of rows"
Values = Json
"""`sums` and `counts`, in the same order."""
RowPart = tuple[Row, tuple[float, float]]
"""What a row adds, and how much of it there is."""


def validate(
    config: ValidateConfig,
    run: StageRun,
    *,
    model: Path,
    rows: Path | None = None,
    tokens: Path | None = None,
    base: Path | None = None,
) -> None:
    """Write `values.json`: each validation row's part of the number that weights are kept by, in float32.

    Of a pretrained model the parts are documents of `tokens`, or stretches. `base` is the model that adapters
    alone were trained on. Rows of one source are one part. An encoder-decoder is not measured.
    """
    if config.pretrain:
        found = _of_text(config.pretrain, model / "model", tokens)
    elif config.classify:
        found = _of_classified(config, model, rows)
    elif is_seq2seq(model / "model", base and base / "model"):
        found = _by_row({"validation": []})
    else:
        found = _of_rows(config, run, model / "model", base and base / "model", rows)
    found.write(run.out)
    count = len(found.validation["sums"])
    run.progress(count, count, found.unit, "")


def _of_text(config: PretrainConfig, folder: Path, tokens: Path) -> RowValues:
    """Bits and bytes of each part of the validation split."""
    files = load_tokens(tokens)
    model = HuggingFaceCausal(load_causal(folder)).to(pick_device(config.device))
    losses = token_losses(model, files, config.context, config.document_mask)
    numbers, unit = parts_of(files.validation, config.context)
    known = ~np.isnan(losses)
    _, own = np.unique(numbers[known], return_inverse=True)
    counts = np.bincount(own).astype(float)
    bits = np.bincount(own, losses[known]) / math.log(2)
    counts *= files.predicted_bytes(config.document_mask) / counts.sum()  # bytes, as many of each token
    return RowValues(unit=unit, validation={"sums": bits.tolist(), "counts": counts.tolist()})


def _of_rows(config: ValidateConfig, run: StageRun, folder: Path, base: Path | None, rows: Path) -> RowValues:
    training = config.finetune or config.dpo
    device = pick_device(training.device)
    model, tokenizer = load_model(folder, base)
    model.to(device).eval()
    read = sft_data if isinstance(training, FinetuneConfig) else preference_data
    data = read(training, tokenizer, rows, longest(model))
    if config.score:
        return _by_row({"validation": _scored(training, model, data)})
    splits = {split: data.rows[split] for split in _splits(config)}
    return _by_row(
        {
            split: list(zip(own, _losses(training, run, model, data, own), strict=True))
            for split, own in splits.items()
        }
    )


def _splits(config: ValidateConfig) -> Sequence[str]:
    return ("validation", "test") if config.test else ("validation",)


def _of_classified(config: ValidateConfig, folder: Path, rows: Path) -> RowValues:
    """Each row's score by the classifier's task, or its part of the loss that is minimised."""
    splits = _splits(config)
    device = pick_device(config.classify.device)
    found = TrainedClassifier.load(folder, rows, splits, device, config.classify.batch_size)
    measured = found.scores if config.score else found.losses
    values = {split: list(zip(found.data.rows[split], measured(split), strict=True)) for split in splits}
    return _by_row(values, found.task.scorer if config.score else None)


def _scored(config: ScoredTuningConfig, model: PreTrainedModel, data: TuningData) -> list[RowPart]:
    score = validation_score(config, data)
    points = score.by_row(model, lambda: None)
    return [(row, (value, 1.0)) for row, value in zip(score.rows, points, strict=True)]


def _by_row(parts: Mapping[str, Sequence[RowPart]], scorer: str | None = None) -> RowValues:
    """Of each split its parts: rows, or sources where several rows are of one."""
    values = {split: _values(own) for split, own in parts.items()}
    joined = any(len(values[split]["sums"]) < len(own) for split, own in parts.items())
    return RowValues(unit=SOURCES if joined else ROWS, scorer=scorer, **values)


def _values(parts: Iterable[RowPart]) -> Values:
    """What each row adds, and how much of it there is; rows of one source together."""
    sums: dict[object, float] = defaultdict(float)
    counts: dict[object, float] = defaultdict(float)
    for place, (row, (amount, count)) in enumerate(parts):
        of = row.get("source", place)
        sums[of] += amount
        counts[of] += count
    return {"sums": list(sums.values()), "counts": list(counts.values())}


@torch.no_grad()
def _losses(
    config: FinetuneConfig, run: StageRun, model: PreTrainedModel, data: TuningData, rows: Sequence[Row]
) -> list[tuple[float, float]]:
    """The summed loss in nats of each row's supervised tokens, and their number."""
    found: list[tuple[float, float]] = []
    for start in range(0, len(rows), config.batch_size):
        run.progress(start, len(rows), ROWS, "")
        examples = [
            supervise(data.template, row, data.max_length, config.loss, turns=config.turns)
            for row in rows[start : start + config.batch_size]
        ]
        time = max(len(example.input_ids) for example in examples)
        inputs = _padded([one.input_ids for one in examples], time, data.tokenizer.pad_token_id)
        labels = _padded([one.labels for one in examples], time, IGNORED).to(model.device)[:, 1:]
        mask = _padded([[1] * len(one.input_ids) for one in examples], time, 0)
        logits = model(inputs.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
        sums = loss_by_token(logits[:, :-1], labels).double().sum(dim=1)
        counts = (labels != IGNORED).sum(dim=1)
        found += zip(sums.tolist(), map(float, counts.tolist()), strict=True)
    return found


def _padded(rows: Sequence[Sequence[int]], length: int, padding: int) -> torch.Tensor:
    """(rows, length), padded behind."""
    return torch.tensor([[*row, *[padding] * (length - len(row))] for row in rows])
