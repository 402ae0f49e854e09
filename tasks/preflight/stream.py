"""Checks about a stream of tokens and the blocks drawn from it for pretraining."""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.batches.blocks import Batch, batch_at
from tasks.data.token_files import IGNORED, Split, TokenFiles
from tasks.preflight.example import decoded
from tasks.preflight.report import CheckResult


def sampled_starts(split: Split, context: int, count: int) -> np.ndarray:
    """Up to `count` places where a block may begin: some that hold the ends of documents, some far apart."""
    last = len(split) - context - 1
    around_ends = split.ends[: count // 2].astype(np.int64) - 1 - context // 2
    places = [*around_ends, *np.linspace(0, last, count - len(around_ends))]
    return np.unique(np.clip(places, 0, last).astype(np.int64))


def every_document_ends(tokens: TokenFiles, tokenizer: PreTrainedTokenizerBase) -> CheckResult:
    """The token before every document's end offset is the tokenizer's end token, in both splits."""
    end = tokenizer.eos_token_id
    expected = f"every document ends with the tokenizer's end token, {end}"
    if tokens.end_token != end:
        found = f"the token files end documents with {tokens.end_token}"
        return CheckResult("end token", "failed", found, expected, "tokens.json")
    documents = 0
    for name, split in (("train", tokens.train), ("validation", tokens.validation)):
        documents += len(split.ends)
        if len(split) and (not len(split.ends) or split.ends[-1] != len(split)):
            found = f"{len(split)} tokens, of which documents end at {split.ends[-1:]}"
            return CheckResult("end token", "failed", found, expected, f"{name} split, its last document")
        lasts = split.tokens[split.ends.astype(np.int64) - 1]
        wrong = np.flatnonzero(lasts != end)
        if len(wrong):
            document = int(wrong[0])
            text = tokenizer.decode([int(lasts[document])])
            found = f"{len(wrong)} documents end otherwise, the first with {lasts[document]} ({text!r})"
            offset = int(split.ends[document]) - 1
            return CheckResult(
                "end token", "failed", found, expected, f"{name} document {document}, token {offset}"
            )
    return CheckResult("end token", "passed", f"all {documents:,} documents", expected)


def ends_are_labels(split: Split, starts: np.ndarray, batch: Batch, end_token: int) -> CheckResult:
    """Where a block runs into the end of a document, the end token is what is to be predicted."""
    name, expected = "end token is supervised", "the label before each end of a document is the end token"
    places = starts[:, None] + 1 + np.arange(batch.labels.shape[1])  # of the labels in the stream
    ends = np.isin(places, split.ends.astype(np.int64) - 1)
    if not ends.any():
        return CheckResult(name, "skipped", f"no document ends in {len(starts)} sampled blocks", expected)
    wrong = np.argwhere(ends & (batch.labels.numpy() != end_token))
    if len(wrong):
        row, column = wrong[0].tolist()
        label = int(batch.labels[row, column])
        found = f"{len(wrong)} of {ends.sum()} end tokens are no label; the first is {_label(label)}"
        return CheckResult(name, "failed", found, expected, f"block {row}, token {column}")
    return CheckResult(name, "passed", f"{ends.sum()} end tokens in {len(starts)} blocks", expected)


def labels_follow(split: Split, starts: np.ndarray, batch: Batch) -> CheckResult:
    """Inputs are the stream from where a block starts, labels what stands one further."""
    name, expected = "labels shift once: data", "labels[t] is the token after inputs[t]"
    places = starts[:, None] + np.arange(batch.inputs.shape[1])
    for what, found, wanted in (
        ("input", batch.inputs.numpy(), split.tokens[places]),
        ("label", batch.labels.numpy(), split.tokens[places + 1]),
    ):
        wrong = np.argwhere((found != wanted) & (found != IGNORED))
        if len(wrong):
            row, column = wrong[0].tolist()
            told = f"{what} {found[row, column]}, in the stream stands {wanted[row, column]}"
            return CheckResult(name, "failed", told, expected, f"block {row}, token {column}")
    return CheckResult(name, "passed", f"{batch.supervised():,} labels of {len(starts)} blocks", expected)


def blocks_supervised(batch: Batch) -> CheckResult:
    """Every block has something to predict; `batch` holds the blocks that training begins with."""
    name, expected = "every row is supervised", "at least one label a row"
    counts = (batch.labels != IGNORED).sum(dim=1)
    if not counts.all():
        row = int(counts.argmin())
        found = (
            f"{int((counts == 0).sum())} of {len(batch)} blocks have none: all documents are one token long"
        )
        return CheckResult(name, "failed", found, expected, f"block {row}")
    share = batch.supervised() / batch.labels.numel()
    return CheckResult(name, "passed", f"{len(batch)} blocks, {share:.1%} of their tokens", expected)


def waiting(split: Split, context: int) -> CheckResult:
    """Nothing is cut off: what does not fill a block waits for the next epoch, which cuts elsewhere."""
    most = min(2 * (context - 1), len(split) - context)
    return CheckResult(
        "cut by the context",
        "info",
        f"no document; at most {most:,} of {len(split):,} tokens wait for the next epoch",
        "documents run on from block to block",
    )


def packed_row(split: Split, context: int) -> tuple[Tensor, Tensor]:
    """Tokens and document numbers (1, time) of a block that holds the end of a document.

    Of a stream of one document the block is cut into three.
    """
    batch = batch_at(split, sampled_starts(split, context, 2)[:1], context, apart=True)
    documents = batch.documents
    if len(documents.unique()) == 1:
        documents = torch.arange(context).mul(3).floor_divide(context)[None]
    return batch.inputs, documents


def example(
    split: Split, starts: np.ndarray, batch: Batch, tokenizer: PreTrainedTokenizerBase, shown: int = 96
) -> str:
    """The first tokens of the first sampled block that holds the end of a document, else of the first."""
    size = batch.labels.shape[1] + 1
    ends = split.ends.astype(np.int64) - 1
    holding = [row for row, start in enumerate(starts) if np.any((ends > start) & (ends < start + size))]
    row = holding[0] if holding else 0
    tokens = split.tokens[starts[row] : starts[row] + size].tolist()
    trained = [False, *(batch.labels[row] != IGNORED).tolist()]
    middle = next((int(end - starts[row]) for end in ends if end > starts[row]), 0) if holding else 0
    part = slice(max(0, middle - shown // 2), max(0, middle - shown // 2) + shown)
    return decoded(tokenizer, tokens[part], trained[part])


def _label(label: int) -> str:
    return "masked" if label == IGNORED else f"token {label}"
