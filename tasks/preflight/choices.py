"""The checks before a model learns to choose: its rows, and what it reads of each choice."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.batches.choices import Choices, Chosen, choice_loss, scores_of
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.models.architectures import longest
from tasks.models.classifier import classifier_output
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.classification import ALLOWED, MORE, READ, UNLIKE, only_intended
from tasks.preflight.contamination import check_corpus
from tasks.preflight.example import decoded
from tasks.preflight.model import UNEQUAL, learns, still
from tasks.preflight.report import CheckResult, Report
from tasks.preflight.splits import rows_apart
from tasks.record.stage import say_nothing

CHOICES = "choices"


def preflight_choices(
    config: ClassifyConfig,
    model: PreTrainedModel,
    data: Choices,
    phase: Callable[[str], None] = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check the model as it is before the first step, on the device it is on, and the rows."""
    rows = _first_rows(data)
    width = model.config.get_text_config().hidden_size
    checks = [
        Check("only the intended weights are trained", partial(only_intended, config, model)),
        Check("reads a choice alone", partial(reads_choice_alone, model, data, rows)),
        Check("initial loss", partial(initial_loss, model, data, rows)),
        Check(
            "learns one batch",
            lambda: learns(model, partial(_loss, model, data, rows), width, f"{len(rows)} rows"),
        ),
    ]
    return _checked(checks, data, phase, corpus)


def preflight_chosen(
    data: Choices, phase: Callable[[str], None] = say_nothing, corpus: Split | None = None
) -> Report:
    """Check what is learned from, whatever the model."""
    return _checked([], data, phase, corpus)


def _checked(
    checks: Sequence[Check], data: Choices, phase: Callable[[str], None], corpus: Split | None
) -> Report:
    of_rows = [
        Check("right choices", partial(right_choices, data)),
        Check("places of the right choice", partial(places_alike, data)),
        Check("splits share no row", partial(rows_apart, data.rows, data.groups)),
        check_corpus(corpus, data.tokenizer, data.rows),
        Check("cut by the context", partial(cut_prompts, data)),
    ]
    results = run_checks([*checks, *of_rows], phase)
    row, text = data.rows["train"][0], data.texts["train"][0]
    ids = text.choices[text.answer]
    example = decoded(data.tokenizer, ids, [False] * len(ids))
    return Report.of(CHOICES, results, f"train row {row['id']}, with its right choice\n{example}")


def _first_rows(data: Choices) -> list[Chosen]:
    chosen: list[Chosen] = []
    for text in data.texts["train"]:
        tokens = sum(len(ids) for other in [*chosen, text] for ids in other.choices)
        if len(chosen) >= 2 and (len(chosen) == data.batch_size or tokens > READ):
            break
        chosen.append(text)
    return chosen


# The rows


def right_choices(data: Choices) -> CheckResult:
    """The tokens of a row's right choice end with its text, and are another choice's in no row."""
    name, expected = "right choices", "the sequence of the right choice ends with it, and with no other"
    skip = data.tokenizer.all_special_ids
    for split, texts in data.texts.items():
        for row, text in zip(data.rows[split], texts, strict=True):
            ids = [token for token in text.choices[text.answer] if token not in skip]
            own = data.tokenizer(row["choices"][row["answer"]], add_special_tokens=False)["input_ids"]
            given = data.tokenizer.decode(ids[-len(own) :]), data.tokenizer.decode(own)
            where = f"{split} row {row['id']}"
            if not given[0].strip().endswith(given[1].strip()):
                found = f"the right choice is {given[1]!r}, its sequence ends with {given[0]!r}"
                return CheckResult(name, "failed", found, expected, where)
            if text.choices.count(text.choices[text.answer]) > 1:
                found = f"two choices have the tokens of {given[1]!r}"
                return CheckResult(name, "failed", found, expected, where)
    return CheckResult(name, "passed", f"{sum(map(len, data.texts.values())):,} rows", expected)


def places_alike(data: Choices) -> CheckResult:
    """How often the right choice is at each place: a tenth off the share of guessing is pointed at."""
    counts = Counter(row["answer"] for row in data.rows["train"])
    sizes = [len(row["choices"]) for row in data.rows["train"]]
    shares = {place: counts[place] / len(sizes) for place in range(max(sizes))}
    even = {place: sum(1 / size for size in sizes if place < size) / len(sizes) for place in shares}
    off = [f"place {place}" for place in shares if abs(shares[place] - even[place]) > UNLIKE]
    found = ", ".join(f"{place}: {share:.1%}" for place, share in shares.items())
    return CheckResult(
        "places of the right choice", "info", found, "about the same for every place", ", ".join(off)
    )


def cut_prompts(data: Choices) -> CheckResult:
    every = data.every_text
    lost = sum(text.lost > 0 for text in every)
    found = (
        f"{lost:,} of {len(every):,} prompts, {sum(text.lost for text in every):,} tokens of their beginnings"
    )
    return CheckResult("cut by the context", "info", found, f"sequences of at most {data.max_length} tokens")


# The model


def reads_choice_alone(model: PreTrainedModel, data: Choices, rows: list[Chosen]) -> CheckResult:
    """A choice's score is that which it has alone, whatever stands beside it; its own tokens move it."""
    name, expected = "reads a choice alone", "scores as of a choice alone; another choice has another"
    more = int(min(MORE, longest(model) - max(len(row.input_ids) for row in rows)))
    with still(model):
        together = scores_of(model, data.collate(rows, more)).float()
        singles = [
            replace(row, choices=[ids], token_types=[types], answer=0)
            for row in rows
            for ids, types in zip(row.choices, row.token_types, strict=True)
        ]
        alone = torch.cat([scores_of(model, data.collate([one])).float() for one in singles])
    moved = (together - alone).abs().max().item()
    limit = UNEQUAL * alone.abs().max().item()
    if not moved <= limit:
        found = f"scores differ by {moved:.2g} in a batch with {more} tokens more of padding"
        return CheckResult(name, "failed", found, expected)
    if (together.max() - together.min()).item() <= limit:
        return CheckResult(name, "failed", "all choices have one score: they are not read", expected)
    return CheckResult(name, "passed", f"{len(singles)} choices of {len(rows)} rows", expected)


def initial_loss(model: PreTrainedModel, data: Choices, rows: list[Chosen]) -> CheckResult:
    """The mean loss before any step, against guessing among the choices of each row alike."""
    with still(model):
        found = _loss(model, data, rows).item()
    guess = sum(math.log(len(row.choices)) for row in rows) / len(rows)
    verdict = "passed" if abs(found - guess) <= ALLOWED else "failed"
    expected = f"a new head guesses: {guess:.3f}, at most {ALLOWED} off"
    return CheckResult("initial loss", verdict, f"{found:.3f} nats a row", expected)


def _loss(model: PreTrainedModel, data: Choices, rows: list[Chosen]) -> Tensor:
    batch = {name: tensor.to(model.device) for name, tensor in data.collate(rows).items()}
    labels = batch.pop("labels")
    return choice_loss(classifier_output(model, batch).logits[:, 0], labels)
