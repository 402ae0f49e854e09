"""The proofs before pretraining: the very model, tokens and blocks that training begins with."""

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tasks.config import PretrainConfig
from tasks.preflight import stream
from tasks.preflight.model import Weights, causality, loss_proofs, packed_equals_separate
from tasks.preflight.report import Proof, Report
from tasks.preflight.splits import documents_apart
from tasks.pretrain.blocks import Batch, Blocks, batch_at
from tasks.tokens import IGNORED, TokenFiles

PRETRAINING = "pretraining"
PROBED, LEARNED, COUNTED = 256, 512, 64 * 1024  # tokens a proof looks at: what two cores do in seconds
BLOCKS = 32


def preflight_pretraining(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokenFiles,
    config: PretrainConfig,
    device: torch.device,
) -> Report:
    """Prove a model with the signature of `GPT`, on `device` and untrained, and what it is to learn from.

    Raises StageError for a training split that is shorter than the context.
    """
    apart = config.documents == "apart"
    split, context = tokens.train, config.context
    first = Blocks(split, context, config.seed, apart).batch(max(1, COUNTED // context))
    starts = stream.sampled_starts(split, context, BLOCKS)
    sampled = batch_at(split, starts, context, apart)
    probe = _part(first, PROBED).to(device)
    weights: Weights = "pretrained" if config.weights == "pretrained" else "random"
    proofs = [
        causality(model, probe.inputs[:1], None if probe.documents is None else probe.documents[:1]),
        *loss_proofs(model, _part(first, LEARNED).to(device), weights),
        stream.every_document_ends(tokens, tokenizer),
        stream.ends_are_labels(split, starts, sampled, tokens.end_token),
        stream.blocks_supervised(first),
        stream.labels_follow(split, starts, sampled),
        _packed(model, tokens, config, device),
        *documents_apart(split, tokens.validation),
        stream.waiting(split, context),
    ]
    return Report.of(PRETRAINING, proofs, stream.example(split, starts, sampled, tokenizer))


def _packed(model: nn.Module, tokens: TokenFiles, config: PretrainConfig, device: torch.device) -> Proof:
    if config.documents == "joined":
        return Proof(
            "packed equals separate", "skipped", "documents are joined by choice", "documents: joined"
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
