"""The checks before an encoder-decoder is fine-tuned: every pair as the trainer batches it, and the model."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from tasks.batches.seq2seq import CollatedPair, Seq2SeqData
from tasks.data.token_files import IGNORED, Split
from tasks.models.seq2seq import decoder_inputs, target_logits
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.contamination import check_corpus
from tasks.preflight.example import decoded
from tasks.preflight.model import LEAK, learns, mean_loss, still
from tasks.preflight.report import CheckResult, Report
from tasks.preflight.splits import rows_apart
from tasks.preflight.tuning import FINETUNING, LEARNED, Loss
from tasks.record.stage import say_nothing

Phase = Callable[[str], None]


def preflight_seq2seq(
    model: PreTrainedModel,
    data: Seq2SeqData,
    loss: Loss,
    phase: Phase = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check the model as it is before the first step, on the device it is on, and the rows.

    `loss` is what the trainer minimises: of the model and a batch, the mean over target tokens.
    """
    batch = _first_batch(model, data)
    supervised = int((batch["labels"] != IGNORED).sum())
    checks = [
        Check("decoder inputs shift once", lambda: shift(model, batch)),
        Check("target hidden from the source", lambda: hidden(model, batch)),
        Check("initial loss", lambda: first_loss(model, batch, loss)),
        Check(
            "learns one batch",
            lambda: learns(
                model, lambda: loss(model, dict(batch)), model.config.hidden_size, f"{supervised} labels"
            ),
        ),
        check_corpus(corpus, data.tokenizer, data.rows),
    ]
    return _checked(checks, data, phase)


def preflight_pairs(data: Seq2SeqData, phase: Phase = say_nothing, corpus: Split | None = None) -> Report:
    """Check what fine-tuning learns from, whatever the weights."""
    return _checked([check_corpus(corpus, data.tokenizer, data.rows)], data, phase)


def _checked(checks: Sequence[Check], data: Seq2SeqData, phase: Phase) -> Report:
    examples: list[str] = []

    def pairs() -> list[CheckResult]:
        results, example = check_pairs(data)
        examples.append(example)
        return results

    of_rows = [
        Check("sources and targets of every row", pairs),
        Check("splits share no row", lambda: rows_apart(data.rows, data.groups)),
        Check("cut by max_length", lambda: targets_cut(data)),
    ]
    return Report.of(FINETUNING, run_checks([*checks, *of_rows], phase), examples[0])


def _first_batch(model: PreTrainedModel, data: Seq2SeqData) -> dict[str, Tensor]:
    """The first rows in their order, as the trainer batches them, on the model's device."""
    dataset, rows, tokens = data.datasets["train"], [], 0
    while len(rows) < min(len(dataset), data.batch_size) and tokens < LEARNED:
        rows.append(dataset[len(rows)])
        tokens += sum(len(column) for column in rows[-1].values())
    return {name: tensor.to(model.device) for name, tensor in data.collator(rows).items()}


# Checks of the model


def shift(model: PreTrainedModel, batch: dict[str, Tensor]) -> CheckResult:
    """The decoder reads each label one place later, and first the token that it begins to generate with."""
    labels = batch["labels"]
    inputs = decoder_inputs(model, labels)
    start = model.generation_config.decoder_start_token_id
    start = model.config.decoder_start_token_id if start is None else start
    expected = f"the decoder's first input is {start}, with which generation begins, then label after label"
    name = "decoder inputs shift once"
    if bool((inputs[:, 0] != start).any()):
        return CheckResult(name, "failed", f"the first input is {int(inputs[0, 0])}", expected)
    before = labels[:, :-1]
    wrong = ((inputs[:, 1:] != before) & (before != IGNORED)).nonzero()
    if len(wrong):
        row, place = wrong[0].tolist()
        one, other = int(inputs[row, place + 1]), int(before[row, place])
        found = f"input {place + 1} is {one}, the label before it {other}"
        return CheckResult(name, "failed", found, expected, f"row {row + 1} of the first batch")
    return CheckResult(name, "passed", f"{len(labels)} rows of up to {labels.shape[1]} tokens", expected)


def hidden(model: PreTrainedModel, batch: dict[str, Tensor]) -> CheckResult:
    """Change a token of the target: no logit up to its own may move, those after it and only they must.

    A leak shows here whichever way it takes: through the encoder, through a decoder that looks ahead, or
    through decoder inputs that were not shifted. A changed source must move the logits, or it is not read.
    """
    name, expected = "target hidden from the source", "a target token moves no logit before it is read"
    one = {key: tensor[:1] for key, tensor in batch.items()}
    time = int((one["labels"] != IGNORED).sum())
    if time < 2:
        return CheckResult(name, "skipped", "a target of one token has no later one to see", expected)
    with still(model):
        logits = target_logits(model, model, one)
        vocabulary, limit = logits.shape[-1], LEAK * logits.abs().max().item()
        for token in sorted({0, time // 2, time - 2}):
            labels = one["labels"].clone()
            labels[:, token] = (labels[:, token] + 1) % vocabulary
            moved = _difference(target_logits(model, model, one | {"labels": labels}), logits)
            if moved[: token + 1].max() > limit:
                place = int(moved[: token + 1].argmax())
                found = f"the logits of target token {place} moved by {moved[place]:.2g}"
                return CheckResult(name, "failed", found, expected, f"token {token} seen from {place}")
            if moved[token + 1] <= limit:
                found = "the logits after a changed token did not move: the decoder does not read its input"
                return CheckResult(name, "failed", found, expected, f"token {token}")
        source = one["input_ids"].clone()
        source[:, 0] = (source[:, 0] + 1) % vocabulary
        if _difference(target_logits(model, model, one | {"input_ids": source}), logits)[:time].max() <= 0:
            found = "no logit moved when the source was changed: the decoder does not read it"
            return CheckResult(name, "failed", found, "the decoder reads the source")
    return CheckResult(name, "passed", f"{time} target tokens, and the source is read", expected)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """By target token, of (1, time, vocabulary)."""
    return (one - other).abs().amax(dim=(0, 2))


def first_loss(model: PreTrainedModel, batch: dict[str, Tensor], loss: Loss) -> CheckResult:
    """What is minimised is the mean cross-entropy of the targets' tokens."""
    with still(model):
        plain = mean_loss(target_logits(model, model, batch), batch["labels"])
        said = loss(model, dict(batch)).item()
    agree = math.isfinite(said) and math.isclose(said, plain, rel_tol=1e-4, abs_tol=1e-5)
    guess = math.log(model.get_output_embeddings().weight.shape[0])
    found = f"{said:.3f} nats a target token; that of the logits {plain:.3f}"
    expected = f"the two are one; guessing costs {guess:.3f}"
    return CheckResult("initial loss", "passed" if agree else "failed", found, expected)


# Checks of the rows


def source_fault(pair: CollatedPair) -> str | None:
    """The encoder reads the row's own source and nothing else: neither the target nor unmasked padding."""
    real = [token for token, seen in zip(pair.input_ids, pair.mask, strict=True) if seen]
    if real != pair.source:
        return f"the encoder is given {len(real)} tokens, which are not the {len(pair.source)} of the source"
    return None


def target_fault(pair: CollatedPair) -> str | None:
    """Labels are the row's own target, and padding never is one."""
    length = len(pair.target)
    if pair.labels[:length] != pair.target:
        return "the labels are other tokens than the target"
    if any(label != IGNORED for label in pair.labels[length:]):
        return "padding is a label"
    return None


def end_fault(pair: CollatedPair, end: int) -> str | None:
    """A whole target ends with the end token, once; one that was cut has none (PITFALLS 6 and 7)."""
    labels = [label for label in pair.labels if label != IGNORED]
    if pair.cut:
        return "it was cut, and ends with the end token all the same" if labels[-1] == end else None
    if labels[-1] != end:
        return f"the last label is {labels[-1]}"
    return "the end token stands within the target" if end in labels[:-1] else None


def check_pairs(data: Seq2SeqData) -> tuple[list[CheckResult], str]:
    """Every row goes through every check once; returns the checks, and a row with padding decoded."""
    end = partial(end_fault, end=data.tokenizer.eos_token_id)
    checks: dict[str, tuple[Callable[[CollatedPair], str | None], str]] = {
        "source alone in the encoder": (source_fault, "the template's prompt, as the tokenizer ends a text"),
        "labels are the target": (target_fault, "the target's tokens; padding has no label"),
        "end token": (end, "the last label of a whole target, and no other"),
    }
    faults: dict[str, list[tuple[str, str]]] = {name: [] for name in checks}
    altered: list[str] = []
    rows = padded = cut = 0
    example: CollatedPair | None = None
    for pair in data.collated():
        rows, cut, is_padded = rows + 1, cut + pair.cut, IGNORED in pair.labels
        padded += is_padded
        if example is None or (is_padded and IGNORED not in example.labels):
            example = pair
        for name, (check, _) in checks.items():
            if fault := check(pair):
                faults[name].append((fault, pair.name))
        if not pair.cut and not _reads_back(data, pair):
            altered.append(pair.name)
    results = [_result(name, expected, faults[name], rows, padded) for name, (_, expected) in checks.items()]
    if rows and cut == rows:
        found = f"all {rows:,} targets are cut, so no end is learned; raise max_length"
        results[-1] = CheckResult("end token", "failed", found, checks["end token"][1])
    return [*results, _read_back(altered, rows - cut)], _shown(data, example) if example else "no row"


def _result(name: str, expected: str, faults: list[tuple[str, str]], rows: int, padded: int) -> CheckResult:
    if not faults:
        return CheckResult(name, "passed", f"{rows:,} rows, {padded:,} of them padded", expected)
    (fault, where), more = faults[0], len(faults) - 1
    return CheckResult(name, "failed", fault, expected, f"{where}{f' and {more:,} more' if more else ''}")


def _reads_back(data: Seq2SeqData, pair: CollatedPair) -> bool:
    """Whether the labels, decoded, are the target's text; how it is spaced is not compared."""
    labels = [label for label in pair.labels if label != IGNORED]
    return "".join(data.template.template.response(labels).split()) == "".join(pair.row["output"].split())


def _read_back(altered: list[str], whole: int) -> CheckResult:
    """What the tokenizer cannot write is never learned; where it alters every target, that is refused."""
    name, expected = "labels decode to the target", "the target's characters, however they are spaced"
    found = f"{whole - len(altered):,} of {whole:,} whole targets"
    verdict = "passed" if not altered else "failed" if len(altered) == whole else "info"
    where = (
        f"{altered[0]}: its tokenizer has no token for some of it, or writes it otherwise" if altered else ""
    )
    return CheckResult(name, verdict, found, expected, where)


def targets_cut(data: Seq2SeqData) -> CheckResult:
    """How many targets were cut, and how much of them is lost."""
    every = data.every_pair
    lost, total = sum(pair.lost for pair in every), sum(len(pair.target) + pair.lost for pair in every)
    cut = sum(pair.cut for pair in every)
    found = f"{cut:,} of {len(every):,} targets, {lost:,} of {total:,} tokens, all of them ends"
    return CheckResult("cut by max_length", "info", found, f"targets of at most {data.max_length} tokens")


def _shown(data: Seq2SeqData, pair: CollatedPair) -> str:
    """The source as it is read, padding last, and the target as it is learned."""
    labels = [label for label in pair.labels if label != IGNORED]
    source = decoded(data.tokenizer, pair.input_ids, [False] * sum(pair.mask))
    return f"{pair.name}\n{source}\n{decoded(data.tokenizer, labels, [True] * len(labels))}"
