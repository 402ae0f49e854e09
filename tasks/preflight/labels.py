"""Checks about fine-tuning rows as the trainer batches them: after the collator, padding and all."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from tasks.batches.tuning import Collated, TuningData
from tasks.data.token_files import IGNORED
from tasks.preflight.example import decoded
from tasks.preflight.report import CheckResult


def end_fault(row: Collated) -> str | None:
    """The last token that is no padding is the end token, and a label; padding never is one.

    So it must be even where padding and end token share an id (PITFALLS 7). A row that was cut has no end
    token: it would teach to stop in mid-sentence.
    """
    real = [place for place, real in enumerate(row.mask) if real]
    if [row.input_ids[place] for place in real] != row.given:
        return "the batch holds other tokens than the row"
    if row.cut and row.given[-1] == row.end_token:
        return "it was cut, and ends with the end token all the same"
    if not row.cut and row.given[-1] != row.end_token:
        return f"the last token is {row.given[-1]}"
    if not row.cut and row.labels[real[-1]] != row.end_token:
        return f"the label of the end token is {row.labels[real[-1]]}"
    if any(label != IGNORED for label, real in zip(row.labels, row.mask, strict=True) if not real):
        return "padding is a label"
    return None


def supervised_fault(row: Collated) -> str | None:
    """The label of the first token counts for nothing: no token stands before it to predict it."""
    if all(label == IGNORED for label in row.labels[1:]):
        return "no token is trained on"
    return None


def prompt_fault(row: Collated) -> str | None:
    """The prompt is the template's, and is trained on only if asked; all that comes after it is.

    Of a conversation, earlier replies of the assistant are trained on as well. The first token of all never
    is: none stands before it to predict it.
    """
    prompt = len(row.prompt)
    if row.given[:prompt] != row.prompt[: len(row.given)]:
        return f"it does not begin with the {prompt} tokens of its prompt"
    spans = [*row.replies, (prompt, len(row.given))] if row.loss == "completion" else [(1, len(row.given))]
    learned = {place for start, stop in spans for place in range(max(1, start), stop)}
    real = [label for label, real in zip(row.labels, row.mask, strict=True) if real]
    for place, label in enumerate(real):
        if (label != IGNORED) != (place in learned):
            what = "masked" if label == IGNORED else "trained on"
            earlier = f", {len(row.replies)} earlier replies in it" if row.replies else ""
            return f"token {place} is {what}, and the prompt has {prompt} tokens{earlier}"
    return None


def shift_fault(row: Collated) -> str | None:
    """The model shifts, so a label is the very token it stands at."""
    for place, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
        if label not in (IGNORED, token):
            return f"the label of token {place} is {label}, the token {token}: they are shifted already"
    return None


END = "end token"
CHECKS: dict[str, tuple[Callable[[Collated], str | None], str]] = {
    END: (end_fault, "the last token of a whole row is the end token, and a label"),
    "every row is supervised": (supervised_fault, "at least one label a row"),
    "prompt as configured": (
        prompt_fault,
        "the prompt is the template's; of it replies are trained on, by turns, or all, by loss",
    ),
    "labels shift once: data": (shift_fault, "labels are the input tokens; the model shifts them"),
}


@dataclass
class _Faults:
    count: int = 0
    first: str = ""
    where: str = ""


@dataclass
class _Seen:
    rows: int = 0
    padded: int = 0
    endless: int = 0
    example: Collated | None = None
    faults: dict[str, _Faults] = field(default_factory=lambda: {name: _Faults() for name in CHECKS})


def check_labels(data: TuningData) -> tuple[list[CheckResult], str]:
    """Every row goes through every check once; returns the checks, and a row decoded, of several turns
    and with padding where there is one."""
    seen = _Seen()
    for row in data.collated():
        seen.rows += 1
        seen.padded += bool(row.padded)
        seen.endless += row.cut and not any(stop <= len(row.given) for _, stop in row.replies)
        if seen.example is None or _shows(row) > _shows(seen.example):
            seen.example = row
        for name, (check, _) in CHECKS.items():
            if fault := check(row):
                faults = seen.faults[name]
                faults.count += 1
                if faults.count == 1:
                    faults.first, faults.where = fault, row.name
    results = [_result(name, expected, seen) for name, (_, expected) in CHECKS.items()]
    return results, _decoded(data.tokenizer, seen.example) if seen.example else "no row"


def _shows(row: Collated) -> tuple[bool, bool]:
    """What an example shows: several replies that are learned, and padding."""
    return bool(row.replies), bool(row.padded)


def _result(name: str, expected: str, seen: _Seen) -> CheckResult:
    faults = seen.faults[name]
    if not seen.rows:
        return CheckResult(name, "failed", "no row to train on", expected)
    if name == END and seen.endless == seen.rows:
        found = f"all {seen.rows:,} rows are cut, so no end is learned; raise max_length"
        return CheckResult(name, "failed", found, expected)
    if not faults.count:
        return CheckResult(name, "passed", f"{seen.rows:,} rows, {seen.padded:,} of them padded", expected)
    more = f" and {faults.count - 1:,} more" if faults.count > 1 else ""
    return CheckResult(name, "failed", faults.first, expected, f"{faults.where}{more}")


def _decoded(tokenizer: PreTrainedTokenizerBase, row: Collated) -> str:
    real = [place for place, real in enumerate(row.mask) if real]
    padding = [place for place, real in enumerate(row.mask) if not real]
    ids = [row.input_ids[place] for place in real + padding]
    return f"{row.name}\n" + decoded(tokenizer, ids, [row.labels[place] != IGNORED for place in real])


def cut_by_context(data: TuningData) -> CheckResult:
    """How many completions were cut, and how much of them is lost."""
    every = data.every_example
    lost, total = sum(e.lost for e in every), sum(len(e.input_ids) + e.lost for e in every)
    cut = sum(e.cut for e in every)
    what = "the ends of conversations" if data.turns == "all" else "all of them the ends of completions"
    found = f"{cut:,} of {len(every):,} rows, {lost:,} of {total:,} tokens, {what}"
    return CheckResult("cut by the context", "info", found, f"rows of at most {data.max_length} tokens")


def replies_learned(data: TuningData) -> CheckResult:
    """How much of what the assistant says in conversations is learned, and why the rest is not."""
    every = data.every_example
    replies, learned = sum(e.replies for e in every), sum(e.replies_learned for e in every)
    reasons = Counter(why for e in every for why in e.unlearned)
    if lost := sum(e.replies_lost for e in every):
        reasons["they do not fit into max_length"] = lost
    found = f"{learned:,} of {replies:,} replies in {len(every):,} rows"
    left = "; ".join(f"{count:,} are not: {why}" for why, count in reasons.items())
    return CheckResult("replies learned", "info", "; ".join(filter(None, (found, left))), "turns: all")
