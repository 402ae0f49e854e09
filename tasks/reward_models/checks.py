"""The checks before a reward model is trained: what would tell the responses of a pair apart by a mistake."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tasks.models.classifier import heads_of
from tasks.models.reward import sequence_rewards
from tasks.models.summary import ModelSummary
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.example import decoded
from tasks.preflight.model import learns, still
from tasks.preflight.report import CheckResult, CheckVerdict, Report
from tasks.preflight.splits import rows_apart
from tasks.record.stage import say_nothing
from tasks.reward_models.data import PairData, columns_of
from tasks.tokenize.templates import Template, load_template

REWARD_MODEL = "reward model"
MOST_CUT_APART = 0.05  # of the pairs may have one response cut and the other whole
ALONE = 8  # pairs that are read by themselves too
SAME = 1e-3  # of a reward, in float32
NEAR = 0.2  # nats of ln 2; ten times as large a head is more than one off
Loss = Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]


def preflight_rewards(
    model: PreTrainedModel | PeftModel,
    data: PairData,
    tuned: Path,
    loss: Loss,
    phase: Callable[[str], None] = say_nothing,
) -> Report:
    """Check the pairs, and the model before the first step; `loss` is what is minimised of a batch."""
    template = load_template(ModelSummary.read(tuned).template, data.tokenizer)
    batch = {name: tensor.to(model.device) for name, tensor in _first_batch(data).items()}
    pairs = len(batch["input_ids"]) // 2
    width = model.config.get_text_config().hidden_size
    of_model = [
        Check("reads the last token", lambda: reads_the_last_token(model, batch)),
        Check("padding shifts nothing", lambda: padding_shifts_nothing(model, data)),
        Check("initial loss", lambda: starts_indifferent(model, batch)),
        Check(
            "learns one batch",
            lambda: learns(model, lambda: loss(model, dict(batch)), width, f"{pairs} pairs"),
        ),
    ]
    return _checked(data, template, of_model, phase)


def preflight_preferred(data: PairData, phase: Callable[[str], None] = say_nothing) -> Report:
    """Check what a reward model learns from, whatever the model."""
    return _checked(data, data.template, (), phase)


def _checked(
    data: PairData, template: Template, more: Sequence[Check], phase: Callable[[str], None]
) -> Report:
    checks = [
        Check("pairs as trained", lambda: pairs_as_trained(data, template)),
        Check("responses differ", lambda: responses_differ(data)),
        Check("cut tells none apart", lambda: cut_tells_none_apart(data)),
        Check("splits share no row", lambda: rows_apart(data.rows, data.groups)),
        *more,
    ]
    return Report.of(REWARD_MODEL, run_checks(checks, phase), _example(data))


def _verdict(passed: bool) -> CheckVerdict:
    return "passed" if passed else "failed"


def pairs_as_trained(data: PairData, template: Template) -> CheckResult:
    """Every pair as it is batched: the prompt that fine-tuning trained on, the response, and the end token.

    What is read of a sequence is its last token that is no padding, so that padding never is the end.
    """
    where = found = ""
    count, end, padding = 0, data.tokenizer.eos_token_id, data.tokenizer.pad_token_id
    for split, pairs in data.pairs.items():
        prompts = template.prompts_ids(data.rows[split])
        for place, (row, pair) in enumerate(zip(data.rows[split], pairs, strict=True)):
            batch = data.collator([columns_of(pair)])
            for number, side in enumerate(("chosen", "rejected")):
                count += 1
                ids, mask = (batch[name][number].tolist() for name in ("input_ids", "attention_mask"))
                given = ids[: sum(mask)]
                whole = [*prompts[place], *template.completion_ids(str(row[side]))]
                fault = ""
                if given != whole[: data.max_length]:
                    fault = "other tokens than the prompt and response in the template of fine-tuning"
                elif len(given) == len(whole) and given[-1] != end:
                    fault = f"the last token is {given[-1]}, the end token {end}"
                elif any(ids[sum(mask) :]) and set(ids[sum(mask) :]) != {padding}:
                    fault = "behind its end stands something else than padding"
                elif given[-1] == padding:
                    fault = f"its last token is the padding {padding}, so that what stands before it is read"
                if fault and not found:
                    where, found = f"{split} row {row['id']}, {side}", fault
    expected = f"prompt and response in template {template.name}, token for token, and the end token"
    told = found or f"{count:,} sequences are the same"
    return CheckResult("pairs as trained", _verdict(not found), told, expected, where)


def responses_differ(data: PairData) -> CheckResult:
    """The two sequences of a pair are not the same tokens, as they are or because both were cut before."""
    same = [
        (f"{split} row {row['id']}", pair.chosen.cut)
        for split, pairs in data.pairs.items()
        for row, pair in zip(data.rows[split], pairs, strict=True)
        if pair.chosen.input_ids == pair.rejected.input_ids
    ]
    expected = "chosen and rejected are two responses"
    if not same:
        return CheckResult("responses differ", "passed", "in every pair", expected)
    cut = sum(is_cut for _, is_cut in same)
    found = f"{len(same):,} pairs are the same tokens twice"
    if cut:
        found += f", {cut:,} of them because max_length {data.max_length} cuts both before they differ"
    return CheckResult("responses differ", "failed", found, expected, same[0][0])


def cut_tells_none_apart(data: PairData) -> CheckResult:
    """A response that was cut has no end token: where the other has one, that alone tells the two apart."""
    pairs = [pair for split in ("train", "validation") for pair in data.pairs[split]]
    apart = sum(pair.chosen.ends != pair.rejected.ends for pair in pairs)
    both = sum(not pair.chosen.ends and not pair.rejected.ends for pair in pairs)
    found = f"{apart:,} of {len(pairs):,} pairs have one response cut, {both:,} both"
    passed = apart <= MOST_CUT_APART * len(pairs)
    if not passed:
        found += f". Raise max_length, now {data.max_length}, or leave out rows that are so long"
    expected = f"one of the two is cut in at most {MOST_CUT_APART:.0%} of the pairs"
    return CheckResult("cut tells none apart", _verdict(passed), found, expected)


def reads_the_last_token(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> CheckResult:
    """What the head says at the last real token of each padded sequence is the reward."""
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    head = whole.get_submodule(heads_of(whole)[-1])
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda _head, _inputs, output: seen.append(output))
    try:
        with still(model):
            rewards = model(**batch, use_cache=False).logits[:, 0]
    finally:
        hook.remove()
    last = batch["attention_mask"].sum(dim=1) - 1
    at_end = seen[0][torch.arange(len(last), device=last.device), last, 0]
    apart = (rewards - at_end).abs().max().item()
    padded = int((batch["attention_mask"][:, -1] == 0).sum())
    found = f"{apart:.2g} apart at most, of {len(last)} sequences, {padded} of them padded"
    expected = "the reward is what the head gives at the last token that is no padding"
    return CheckResult("reads the last token", _verdict(apart == 0), found, expected)


def padding_shifts_nothing(model: PreTrainedModel | PeftModel, data: PairData) -> CheckResult:
    """Rewards of sequences that are padded together, and of each read alone."""
    sequences = [
        example.input_ids for pair in data.pairs["train"][:ALONE] for example in (pair.chosen, pair.rejected)
    ]
    with still(model):
        together = sequence_rewards(model, sequences)
        alone = [sequence_rewards(model, [own])[0] for own in sequences]
    furthest = max(abs(one - other) for one, other in zip(together, alone, strict=True))
    found = f"{furthest:.2g} apart at most, of {len(sequences)} sequences"
    expected = f"the reward of each alone, within {SAME:g}"
    return CheckResult("padding shifts nothing", _verdict(furthest <= SAME), found, expected)


def starts_indifferent(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> CheckResult:
    """Before any step the two responses of a pair are worth about the same."""
    with still(model):
        chosen, rejected = model(**batch, use_cache=False).logits[:, 0].float().chunk(2)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean().item()
    passed = math.isclose(loss, math.log(2), abs_tol=NEAR)
    expected = f"ln 2 = {math.log(2):.4f}, at most {NEAR:g} off: the new head knows no order"
    return CheckResult("initial loss", _verdict(passed), f"{loss:.4f} nats a pair", expected)


def _first_batch(data: PairData) -> dict[str, Tensor]:
    return data.collator([columns_of(pair) for pair in data.pairs["train"][: data.batch_size]])


def _example(data: PairData) -> str:
    """The first pair, as it is read; nothing of a response is learned to be written."""
    row, pair = data.rows["train"][0], data.pairs["train"][0]
    parts = []
    for side, example in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        last = [False] * (len(example.input_ids) - 1) + [True]
        parts.append(f"train row {row['id']}, {side}\n{decoded(data.tokenizer, example.input_ids, last)}")
    return "\n\n".join(parts)
