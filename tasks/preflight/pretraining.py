"""The checks before pretraining: the very model, tokens and blocks that training begins with."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tasks.batches.blocks import Batch, batch_at
from tasks.batches.mixtures import causal_batches
from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, TokenFiles
from tasks.preflight import stream
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.masked import preflight_masked
from tasks.preflight.mixture import mixture_as_asked
from tasks.preflight.model import Weights, causality, loss_checks, packed_equals_separate
from tasks.preflight.report import PRETRAINING, CheckResult, Report
from tasks.preflight.splits import documents_apart
from tasks.record.stage import say_nothing

PROBED, LEARNED, COUNTED = 256, 512, 64 * 1024  # tokens a check looks at: what two cores do in seconds
BLOCKS = 32


def preflight_pretraining(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokenFiles,
    config: PretrainConfig,
    device: torch.device,
    phase: Callable[[str], None] = say_nothing,
) -> Report:
    """Check a model with the signature of `CausalModel`, untrained on `device`, and what it learns from.

    One that is to fill in masked tokens has checks of its own.

    Raises StageError for a training split that is shorter than the context.
    """
    if config.objective == "masked":
        return preflight_masked(model, tokenizer, tokens, config, device, phase)
    apart = config.document_mask
    split, context = tokens.train, config.context
    first = causal_batches(config, tokens).batch(max(1, COUNTED // context))
    starts = stream.sampled_starts(split, context, BLOCKS)
    sampled = batch_at(split, starts, context, apart)
    probe = _part(first, PROBED).to(device)
    weights: Weights = "pretrained" if config.weights == "pretrained" else "random"
    documents = None if probe.documents is None else probe.documents[:1]
    checks = [
        Check("causality", lambda: causality(model, probe.inputs[:1], documents)),
        *loss_checks(model, _part(first, LEARNED).to(device), weights),
        Check("end token", lambda: stream.every_document_ends(tokens, tokenizer)),
        Check(
            "end token is supervised",
            lambda: stream.ends_are_labels(split, starts, sampled, tokens.end_token),
        ),
        Check("every row is supervised", lambda: stream.blocks_supervised(first)),
        Check("labels shift once: data", lambda: stream.labels_follow(split, starts, sampled)),
        Check("packed equals separate", lambda: _packed(model, tokens, config, device)),
        Check("splits share no document", lambda: documents_apart(split, tokens.validation)),
        Check("cut by the context", lambda: stream.waiting(split, context)),
    ]
    if config.mixture is not None:
        planned = causal_batches(config, tokens, taken=config.steps * config.sequences)
        checks.append(Check("mixture of sources", lambda: mixture_as_asked(config, tokens, planned)))
    results = run_checks(checks, phase)
    return Report.of(PRETRAINING, results, stream.example(split, starts, sampled, tokenizer))


def _packed(
    model: nn.Module, tokens: TokenFiles, config: PretrainConfig, device: torch.device
) -> CheckResult:
    if not config.document_mask:
        return CheckResult(
            "packed equals separate", "skipped", "documents are joined by choice", "document_mask: false"
        )
    input_ids, documents = stream.packed_row(tokens.train, min(PROBED, config.context))
    return packed_equals_separate(model, input_ids.to(device), documents.to(device))


def _part(batch: Batch, tokens: int) -> Batch:
    """The first rows and columns of a batch, about so many tokens, among them a label."""
    columns = min(batch.inputs.shape[1], tokens)
    counted = (batch.labels[:, :columns] != IGNORED).sum(dim=1)
    first = int(counted.argmax()) if not counted[0] else 0
    rows = slice(first, first + max(1, tokens // columns))
    documents = None if batch.documents is None else batch.documents[rows, :columns]
    return Batch(batch.inputs[rows, :columns], batch.labels[rows, :columns], documents)
