"""The proofs before fine-tuning: every row as the trainer batches it, and the model it starts from."""

import math
from collections.abc import Callable, Iterator

from torch import Tensor
from transformers import PreTrainedModel

from tasks.finetune.data import PLACE, TuningData
from tasks.preflight.labels import cut_by_context, prove_labels
from tasks.preflight.model import causality, loss_proofs, packed_equals_separate, still
from tasks.preflight.report import Proof, Report
from tasks.preflight.splits import rows_apart
from tasks.pretrain.blocks import Batch
from tasks.pretrain.models import HuggingFaceCausal

FINETUNING, PREFERENCES = "fine-tuning", "preferences"
Loss = Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]
LEARNED = 512  # tokens of the batch that is learned from


def preflight_finetuning(model: PreTrainedModel, data: TuningData, loss: Loss) -> Report:
    """Prove the model as it is before the first step, on the device it is on, and the rows.

    `loss` is what the trainer minimises: of the model and a batch, the mean over supervised tokens.
    """
    return Report.of(FINETUNING, _model_proofs(model, data, loss)) + preflight_rows(data)


def preflight_rows(data: TuningData, training: str = FINETUNING) -> Report:
    """Prove what fine-tuning learns from, whatever the model."""
    labels, example = prove_labels(data)
    return Report.of(training, [*labels, *rows_apart(data.rows, data.groups), cut_by_context(data)], example)


def _model_proofs(model: PreTrainedModel, data: TuningData, loss: Loss) -> Iterator[Proof]:
    batch = _first_batch(model, data)
    causal = HuggingFaceCausal(model)
    documents = batch.get(PLACE)
    first = batch["input_ids"][:1]
    if documents is None:
        yield causality(causal, first[:, : int(batch["attention_mask"][0].sum())])
        shifted = Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:])
    else:
        yield causality(causal, first, documents[:1])
        yield packed_equals_separate(causal, first, documents[:1])
        shifted = Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:], documents[:, :-1])
    yield from loss_proofs(causal, shifted, "base", lambda: loss(model, dict(batch)).item())


def preflight_preferences(model: PreTrainedModel, data: TuningData, loss: Loss) -> Report:
    """As `preflight_finetuning`, of pairs of a chosen and a rejected completion.

    `loss` is that of DPO, of the model and a batch, in nats a pair.
    """

    def proofs() -> Iterator[Proof]:
        batch = _first_batch(model, data)
        yield causality(
            HuggingFaceCausal(model), batch["input_ids"][:1, : int(batch["attention_mask"][0].sum())]
        )
        yield starts_indifferent(model, lambda: loss(model, dict(batch)).item())

    return Report.of(PREFERENCES, proofs()) + preflight_rows(data, PREFERENCES)


def starts_indifferent(model: PreTrainedModel, loss: Callable[[], float]) -> Proof:
    """Before any step the model is its own reference: every margin is 0, and the loss ln 2 (DPO, eq. 7)."""
    with still(model):
        found = loss()
    passed = math.isclose(found, math.log(2), abs_tol=1e-3)
    expected = f"ln 2 = {math.log(2):.4f}: the model and its reference are one"
    return Proof("initial loss", "passed" if passed else "failed", f"{found:.4f} nats a pair", expected)


def _first_batch(model: PreTrainedModel, data: TuningData) -> dict[str, Tensor]:
    """The first rows in their order, as the trainer batches them, on the model's device."""
    dataset, rows, tokens = data.datasets["train"], [], 0
    while len(rows) < min(len(dataset), data.batch_size) and tokens < LEARNED:
        rows.append(dataset[len(rows)])
        tokens += max(len(column) for column in rows[-1].values())
    return {name: tensor.to(model.device) for name, tensor in data.collator(rows).items()}
