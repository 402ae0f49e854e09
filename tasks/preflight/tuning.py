"""The checks before fine-tuning: every row as the trainer batches it, and the model it starts from."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor
from transformers import PreTrainedModel

from tasks.batches.blocks import Batch
from tasks.batches.tuning import PLACE, TuningData
from tasks.data.token_files import Split
from tasks.models.architectures import HuggingFaceCausal
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.contamination import check_corpus
from tasks.preflight.labels import check_labels, cut_by_context, replies_learned
from tasks.preflight.model import causality, loss_checks, packed_equals_separate, still
from tasks.preflight.report import CheckResult, Report
from tasks.preflight.roundtrip import text_comes_back
from tasks.preflight.splits import rows_apart
from tasks.record.stage import say_nothing

FINETUNING, PREFERENCES = "fine-tuning", "preferences"
Loss = Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]
LEARNED = 512  # tokens of the batch that is learned from


def preflight_finetuning(
    model: PreTrainedModel,
    data: TuningData,
    loss: Loss,
    phase: Callable[[str], None] = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check the model as it is before the first step, on the device it is on, and the rows.

    `loss` is what the trainer minimises: of the model and a batch, the mean over supervised tokens. `corpus`
    is what the model was pretrained on, where that is known.
    """
    unread = check_corpus(corpus, data.tokenizer, data.rows)
    return _checked([*_model_checks(model, data, loss), unread], data, FINETUNING, phase)


def preflight_rows(
    data: TuningData,
    training: str = FINETUNING,
    phase: Callable[[str], None] = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check what fine-tuning learns from, whatever the model."""
    checks = [check_corpus(corpus, data.tokenizer, data.rows)] if training == FINETUNING else []
    return _checked(checks, data, training, phase)


def _checked(
    checks: Sequence[Check], data: TuningData, training: str, phase: Callable[[str], None]
) -> Report:
    """The report of a model's checks, and of the rows."""
    examples: list[str] = []

    def labels() -> list[CheckResult]:
        results, example = check_labels(data)
        examples.append(example)
        return results

    of_rows = [
        Check("labels of every row", labels),
        Check("splits share no row", lambda: rows_apart(data.rows, data.groups)),
        Check("cut by the context", lambda: cut_by_context(data)),
        Check("text comes back", lambda: text_comes_back(data)),
    ]
    if any(example.replies > 1 for example in data.every_example):
        of_rows.append(Check("replies learned", lambda: replies_learned(data)))
    return Report.of(training, run_checks([*checks, *of_rows], phase), examples[0])


def _model_checks(model: PreTrainedModel, data: TuningData, loss: Loss) -> list[Check]:
    batch = _first_batch(model, data)
    causal = HuggingFaceCausal(model)
    documents = batch.get(PLACE)
    first = batch["input_ids"][:1]
    if documents is None:
        length = int(batch["attention_mask"][0].sum())
        checks = [Check("causality", lambda: causality(causal, first[:, :length]))]
        shifted = Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:])
    else:
        checks = [
            Check("causality", lambda: causality(causal, first, documents[:1])),
            Check("packed equals separate", lambda: packed_equals_separate(causal, first, documents[:1])),
        ]
        shifted = Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:], documents[:, :-1])
    return [*checks, *loss_checks(causal, shifted, "base", lambda: loss(model, dict(batch)).item())]


def preflight_preferences(
    model: PreTrainedModel, data: TuningData, loss: Loss, phase: Callable[[str], None] = say_nothing
) -> Report:
    """As `preflight_finetuning`, of pairs of a chosen and a rejected completion.

    `loss` is that of DPO, of the model and a batch, in nats a pair.
    """
    batch = _first_batch(model, data)
    first = batch["input_ids"][:1, : int(batch["attention_mask"][0].sum())]
    checks = [
        Check("causality", lambda: causality(HuggingFaceCausal(model), first)),
        Check("initial loss", lambda: starts_indifferent(model, lambda: loss(model, dict(batch)).item())),
    ]
    return _checked(checks, data, PREFERENCES, phase)


def starts_indifferent(model: PreTrainedModel, loss: Callable[[], float]) -> CheckResult:
    """Before any step the model is its own reference: every margin is 0, and the loss ln 2 (DPO, eq. 7)."""
    with still(model):
        found = loss()
    passed = math.isclose(found, math.log(2), abs_tol=1e-3)
    expected = f"ln 2 = {math.log(2):.4f}: the model and its reference are one"
    return CheckResult("initial loss", "passed" if passed else "failed", f"{found:.4f} nats a pair", expected)


def _first_batch(model: PreTrainedModel, data: TuningData) -> dict[str, Tensor]:
    """The first rows in their order, as the trainer batches them, on the model's device."""
    dataset, rows, tokens = data.datasets["train"], [], 0
    while len(rows) < min(len(dataset), data.batch_size) and tokens < LEARNED:
        rows.append(dataset[len(rows)])
        tokens += max(len(column) for column in rows[-1].values())
    return {name: tensor.to(model.device) for name, tensor in data.collator(rows).items()}
