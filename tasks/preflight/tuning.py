"""The proofs before fine-tuning: every row as the trainer batches it, and the model it starts from."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.finetune.data import TuningData
from tasks.preflight.labels import cut_by_context, prove_labels
from tasks.preflight.model import causality, loss_proofs
from tasks.preflight.report import Proof, Report
from tasks.preflight.splits import rows_apart
from tasks.pretrain.blocks import Batch
from tasks.pretrain.models import HuggingFaceCausal

FINETUNING = "fine-tuning"
Loss = Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]
LEARNED = 512  # tokens of the batch that is learned from


def preflight_finetuning(model: PreTrainedModel, data: TuningData, loss: Loss) -> Report:
    """Prove the model as it is before the first step, on the device it is on, and the rows.

    `loss` is what the trainer minimises: of the model and a batch, the mean over supervised tokens.
    """
    return Report.of(FINETUNING, _model_proofs(model, data, loss)) + preflight_rows(data)


def preflight_rows(data: TuningData) -> Report:
    """Prove what fine-tuning learns from, whatever the model."""
    labels, example = prove_labels(data)
    return Report.of(FINETUNING, [*labels, *rows_apart(data.rows), cut_by_context(data)], example)


def _model_proofs(model: PreTrainedModel, data: TuningData, loss: Loss) -> Iterator[Proof]:
    rows = _first_rows(data)
    batch = {name: tensor.to(model.device) for name, tensor in data.collator(rows).items()}
    causal = HuggingFaceCausal(model)
    yield causality(causal, torch.tensor([rows[0]["input_ids"]], device=model.device))
    shifted = Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:])
    yield from loss_proofs(causal, shifted, "base", lambda: loss(model, dict(batch)).item())


def _first_rows(data: TuningData) -> list[dict[str, list[int]]]:
    dataset, rows, tokens = data.datasets["train"], [], 0
    while len(rows) < min(len(dataset), data.batch_size) and tokens < LEARNED:
        row = dataset[len(rows)]
        rows.append({name: row[name] for name in ("input_ids", "labels")})
        tokens += len(row["input_ids"])
    return rows
