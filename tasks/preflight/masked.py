"""The checks before pretraining a masked language model: what is masked, what is predicted, what is seen."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tasks.batches.blocks import Batch
from tasks.batches.masked import PADDING, RANDOM, REPLACED, MaskedRow, Masking
from tasks.batches.mixtures import masked_batches
from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, TokenFiles
from tasks.preflight import stream
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.example import decoded
from tasks.preflight.mixture import mixture_as_asked
from tasks.preflight.model import (
    LEAK,
    UNEQUAL,
    Weights,
    initial_loss,
    learns_one_batch,
    mean_loss,
    still,
)
from tasks.preflight.report import PRETRAINING, CheckResult, Report
from tasks.preflight.splits import documents_apart
from tasks.tokenize.words import words_of

COUNTED, LEARNED, PROBED = 64 * 1024, 512, 64  # tokens a check looks at
DEVIATIONS = 4.5  # of a binomial: a right masking is outside once in 150,000 times


def preflight_masked(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokenFiles,
    config: PretrainConfig,
    device: torch.device,
    phase: Callable[[str], None],
) -> Report:
    """Check a `MaskedModel`, untrained on `device`, and the masked sequences that it learns from.

    Raises StageError for a training split that is shorter than the context.
    """
    masking = Masking.of(config, tokens, words_of(tokenizer) if config.masking == "words" else None)
    sequences = masked_batches(config, tokens, masking)
    rows = sequences.rows(math.ceil(COUNTED / sequences.mean_length()))
    few = sorted(rows[: max(2, LEARNED // config.context)], key=lambda row: len(row.inputs))
    batch = masking.collate(few, config.context).to(device)
    probe = torch.from_numpy(max(few, key=lambda row: len(row.inputs)).original[:PROBED])[None].to(device)
    other = (masking.mask, int(np.flatnonzero(~masking.special)[0]))
    weights: Weights = "pretrained" if config.weights == "pretrained" else "random"
    checks = [
        Check("sees both sides", lambda: sees_both_sides(model, probe, other)),
        Check("padding does not matter", lambda: padding_ignored(model, probe, masking.pad)),
        Check("initial loss", lambda: initial_loss(model, batch, weights)),
        Check("loss of labelled positions", lambda: loss_of_labels(model, batch)),
        Check("learns one batch", lambda: learns_one_batch(model, batch)),
        Check("end token", lambda: stream.every_document_ends(tokens, tokenizer)),
        Check("no label outside the mask", lambda: labels_are_masked(rows)),
        Check("special tokens stay", lambda: special_stay(rows, masking)),
        Check("mask rate", lambda: mask_rate(rows, masking)),
        Check("80/10/10", lambda: replacements(rows, masking)),
        Check("every row is supervised", lambda: rows_supervised(rows)),
        Check("splits share no document", lambda: documents_apart(tokens.train, tokens.validation)),
    ]
    if config.mixture is not None:
        planned = masked_batches(config, tokens, masking, taken=config.steps * config.sequences)
        checks.append(Check("mixture of sources", lambda: mixture_as_asked(config, tokens, planned)))
    results = run_checks(checks, phase)
    longest = few[-1]
    return Report.of(
        PRETRAINING,
        results,
        decoded(tokenizer, longest.inputs[:96].tolist(), (longest.labels[:96] != IGNORED).tolist()),
    )


# The model


def sees_both_sides(model: nn.Module, input_ids: Tensor, others: tuple[int, int]) -> CheckResult:
    """Change a token: logits before it and behind it must move; `input_ids` (1, time).

    `others` are two tokens, of which one takes the place of the token.
    """
    name, expected = "sees both sides", "the logits before and behind a changed token move"
    time = input_ids.shape[1]
    if time < 3:
        return CheckResult(name, "skipped", "no sequence has a token before and one behind another", expected)
    middle = time // 2
    changed = input_ids.clone()
    changed[0, middle] = next(other for other in others if other != input_ids[0, middle])
    with still(model):
        before, after = model(input_ids)[0], model(changed)[0]
    limit = LEAK * before.abs().max().item()
    moved = (after - before).abs().amax(dim=1)
    sides = {"before": moved[:middle].max().item(), "behind": moved[middle + 1 :].max().item()}
    found = ", ".join(f"{side} it by up to {most:.1e}" for side, most in sides.items())
    found = f"token {middle} of {time} changed: logits moved {found}"
    if blind := [side for side, most in sides.items() if not most > limit]:
        where = f"what stands {blind[0]} a token does not see it"
        return CheckResult(name, "failed", found, expected, where)
    return CheckResult(name, "passed", found, expected)


def padding_ignored(model: nn.Module, input_ids: Tensor, pad: int) -> CheckResult:
    """The logits of a text are the same with padding behind it; `input_ids` (1, time) lose their end."""
    name, expected = "padding does not matter", "logits as of the sequence alone"
    time = input_ids.shape[1]
    padding = max(1, time // 3)
    real = input_ids[:, : time - padding]
    padded = torch.cat([real, torch.full_like(input_ids[:, :padding], pad)], dim=1)
    documents = torch.zeros_like(padded)
    documents[:, real.shape[1] :] = PADDING
    with still(model):
        alone = model(real)[0]
        within = model(padded, documents=documents)[0, : real.shape[1]]
    difference = (within - alone).abs().amax(dim=1)
    worst, limit = difference.max().item(), UNEQUAL * alone.abs().max().item()
    found = f"{real.shape[1]} tokens with {padding} of padding: logits differ by up to {worst:.1e}"
    if worst <= limit:
        return CheckResult(name, "passed", found, expected)
    return CheckResult(name, "failed", found, expected, f"token {int(difference.argmax())}")


def loss_of_labels(model: nn.Module, batch: Batch) -> CheckResult:
    """The loss that is minimised is the cross-entropy of the logits where there are labels.

    It is computed by another way: the head gets those positions alone.
    """
    name = "loss of labelled positions"
    expected = "the loss is that of the logits at the labels' own positions, shifted by none"
    if not batch.supervised():
        return CheckResult(name, "skipped", "no token of the first rows is masked", expected)
    with still(model):
        plain = mean_loss(model(batch.inputs, documents=batch.documents), batch.labels)
        own = model(batch.inputs, batch.labels, documents=batch.documents).item() / batch.supervised()
    agree = math.isclose(own, plain, rel_tol=1e-4, abs_tol=1e-5)
    found = f"the model's loss is {own:.4f}, that of its logits {plain:.4f}"
    return CheckResult(
        name, "passed" if agree else "failed", found, expected, "" if agree else "the model's loss"
    )


# What is masked


def labels_are_masked(rows: Sequence[MaskedRow]) -> CheckResult:
    """Each label is the token that stood there, and each input that is another than that has a label."""
    name, expected = "no label outside the mask", "a label is the token that was drawn, and nothing else is"
    labels = 0
    for number, row in enumerate(rows):
        has_label = row.labels != IGNORED
        labels += int(has_label.sum())
        wrong = np.flatnonzero(has_label & (row.labels != row.original))
        if len(wrong):
            found = f"label {row.labels[wrong[0]]}, in the text stands {row.original[wrong[0]]}"
            return CheckResult(name, "failed", found, expected, f"row {number}, token {wrong[0]}")
        changed = np.flatnonzero(~has_label & (row.inputs != row.original))
        if len(changed):
            found = (
                f"input {row.inputs[changed[0]]} takes the place of {row.original[changed[0]]}, unlabelled"
            )
            return CheckResult(name, "failed", found, expected, f"row {number}, token {changed[0]}")
    return CheckResult(name, "passed", f"{labels:,} labels of {len(rows):,} rows", expected)


def special_stay(rows: Sequence[MaskedRow], masking: Masking) -> CheckResult:
    """No special token is masked, has a label, or takes the place of another but for the mask token."""
    name, expected = "special tokens stay", "no special token is drawn, or put in place of another"
    for number, row in enumerate(rows):
        special = masking.special[row.original]
        put = masking.special[row.inputs] & (row.inputs != masking.mask) & ~special
        wrong = np.flatnonzero((special & ((row.labels != IGNORED) | (row.inputs != row.original))) | put)
        if len(wrong):
            place = wrong[0]
            found = f"token {row.original[place]} became {row.inputs[place]}, its label {row.labels[place]}"
            return CheckResult(name, "failed", found, expected, f"row {number}, token {place}")
        if row.original[0] != masking.start or row.original[-1] != masking.end:
            found = f"a sequence from token {row.original[0]} to {row.original[-1]}"
            return CheckResult(
                name, "failed", found, f"from {masking.start} to {masking.end}", f"row {number}"
            )
    return CheckResult(name, "passed", f"{len(rows):,} rows", expected)


def mask_rate(rows: Sequence[MaskedRow], masking: Masking) -> CheckResult:
    """The share of tokens, or whole words, that are drawn is within its binomial interval.

    A row in which none was drawn gets one all the same, which is counted for: short rows have more.
    """
    unit = "tokens" if masking.words is None else "words"
    drawn = mean = variance = total = 0.0
    for number, row in enumerate(rows):
        units = masking.units(row.original)
        count = int(units.max(initial=-1)) + 1
        if not count:
            continue
        own = units[row.labels != IGNORED]
        chosen = np.unique(own[own >= 0])
        if len(own) != int(np.isin(units, chosen).sum()):
            found = f"a word is masked in part: {len(own)} of {int(np.isin(units, chosen).sum())} tokens"
            return CheckResult("mask rate", "failed", found, "whole words are masked", f"row {number}")
        drawn += len(chosen)
        total += count
        mean += count * masking.rate + (1 - masking.rate) ** count
        variance += count * masking.rate * (1 - masking.rate)
    margin = DEVIATIONS * math.sqrt(variance)
    found = f"{drawn / max(total, 1):.2%} of {total:,.0f} {unit}"
    low, high = (100 * (mean + sign * margin) / max(total, 1) for sign in (-1, 1))
    expected = (
        f"from {max(low, 0):.2f}% to {high:.2f}%, for a rate of {masking.rate:.0%}, and one a row at least"
    )
    within = abs(drawn - mean) <= margin
    return CheckResult("mask rate", "passed" if within else "failed", found, expected)


def replacements(rows: Sequence[MaskedRow], masking: Masking) -> CheckResult:
    """Of the drawn tokens four in five are the mask token, one in ten is any token, one in ten stays."""
    inputs, originals = (
        np.concatenate([getattr(row, name)[row.labels != IGNORED] for row in rows] or [np.empty(0)])
        for name in ("inputs", "original")
    )
    count = len(inputs)
    regular = int((~masking.special).sum())
    by_chance = RANDOM / regular  # any token may be the one that stood there
    wanted = {"masked": REPLACED, "random": RANDOM - by_chance, "kept": 1 - REPLACED - RANDOM + by_chance}
    counts = {
        "masked": int((inputs == masking.mask).sum()),
        "kept": int((inputs == originals).sum()),
    }
    counts["random"] = count - sum(counts.values())
    found = ", ".join(f"{counts[name] / max(count, 1):.1%} {name}" for name in wanted) + f" of {count:,}"
    off = [
        name
        for name, share in wanted.items()
        if abs(counts[name] - share * count) > DEVIATIONS * math.sqrt(count * share * (1 - share))
    ]
    expected = "80% the mask token, 10% any token, 10% as it was"
    return CheckResult("80/10/10", "failed" if off else "passed", found, expected, ", ".join(off))


def rows_supervised(rows: Sequence[MaskedRow]) -> CheckResult:
    """Every sequence has something to predict."""
    name, expected = "every row is supervised", "at least one label a row"
    without = [number for number, row in enumerate(rows) if not (row.labels != IGNORED).any()]
    if without:
        found = f"{len(without):,} of {len(rows):,} rows have none: all of their tokens are special"
        return CheckResult(name, "failed", found, expected, f"row {without[0]}")
    labels = sum(int((row.labels != IGNORED).sum()) for row in rows)
    share = labels / sum(len(row.labels) for row in rows)
    return CheckResult(name, "passed", f"{len(rows):,} rows, {share:.1%} of their tokens", expected)
