"""The checks before a classifier of words is trained: its labels' places, its tags, where it is read."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.batches.evaluation import logits_of
from tasks.batches.labelled import Labelled
from tasks.batches.tagged import TaggedText
from tasks.classify.entities import fault, marks_entities
from tasks.config import ClassifyConfig
from tasks.data.token_files import IGNORED, Split
from tasks.models.architectures import longest
from tasks.preflight.checks import Check
from tasks.preflight.classification import MORE, checks_of_model, first_texts, report_of
from tasks.preflight.model import UNEQUAL, still
from tasks.preflight.report import CheckResult, Report
from tasks.rows.tagged_words import sentence

READING = "words read without padding"


def preflight_tags(
    config: ClassifyConfig,
    model: PreTrainedModel,
    data: Labelled,
    loss: Callable[[Any, Tensor], Tensor],
    phase: Callable[[str], None],
    corpus: Split | None,
) -> Report:
    """Check the model as it is before the first step, and the rows."""
    guess = torch.tensor(float(len(data.labels))).log().item()
    reading = Check(READING, lambda: words_read_alone(model, data, first_texts(data)))
    checks = checks_of_model(config, model, data, loss, guess, reading)
    return _report(checks, data, phase, corpus)


def preflight_tagged_rows(data: Labelled, phase: Callable[[str], None], corpus: Split | None) -> Report:
    """Check what is learned from, whatever the model."""
    return _report([], data, phase, corpus)


def _report(
    checks: Sequence[Check], data: Labelled, phase: Callable[[str], None], corpus: Split | None
) -> Report:
    own = [
        Check("labels on first tokens", lambda: labels_on_first_tokens(data)),
        Check("tags known", lambda: tags_known(data)),
        Check("tags begin entities", lambda: tags_consistent(data)),
        Check("words cut off", lambda: words_cut_off(data)),
    ]
    row, text = data.rows["train"][0], data.texts["train"][0]
    trained = [label != IGNORED for label in text.labels]
    return report_of(checks, own, data, phase, corpus, f"tags {' '.join(row['tags'])}", trained)


def labels_on_first_tokens(data: Labelled) -> CheckResult:
    """Each word that is read has its tag once, on its first token; special and later tokens have none."""
    name, expected = "labels on first tokens", "a word's tag on its first token, and on no other"
    words = 0
    for split, texts in data.texts.items():
        for row, text in zip(data.rows[split], texts, strict=True):
            if why := _misplaced(data, row, text):
                return CheckResult(name, "failed", why, expected, f"{split} row {row['id']}")
            words += sum(label != IGNORED for label in text.labels)
    tokens = sum(len(text.input_ids) for text in data.every_text)
    return CheckResult(name, "passed", f"{words:,} words in {tokens:,} tokens", expected)


def _misplaced(data: Labelled, row: dict[str, Any], text: TaggedText) -> str | None:
    """What is wrong with the labels of a sentence, by what the tokenizer says of the joined words."""
    offsets = data.tokenizer(sentence(row), truncation=True, return_offsets_mapping=True)["offset_mapping"]
    begins, begin = {}, 0
    for word, tag in zip(row["words"], row["tags"], strict=True):
        begins[begin], begin = (word, tag), begin + len(word) + 1
    last = 0
    for place, (label, (start, stop)) in enumerate(zip(text.labels, offsets, strict=True)):
        inside = [at for at in begins if max(start, last) <= at < stop]
        last = max(last, stop)
        expected = data.labels.index(begins[inside[0]][1]) if inside else IGNORED
        if label != expected:
            token = data.tokenizer.decode([text.input_ids[place]])
            kind = "begins no word" if not inside else f"begins {begins[inside[0]][0]!r}"
            had = "no label" if label == IGNORED else f"the label {data.labels[label]}"
            return f"token {place} ({token!r}) {kind} and has {had}"
    return None


def tags_known(data: Labelled) -> CheckResult:
    """Every tag is one that the training rows have, so that it can be learned."""
    name, expected = "tags known", "every tag is one of the training rows"
    learned = {tag for row in data.rows["train"] for tag in row["tags"]}
    unknown = [
        (split, row, tag)
        for split, rows in data.rows.items()
        for row in rows
        for tag in row["tags"]
        if tag not in learned
    ]
    if unknown:
        split, row, tag = unknown[0]
        found = f"{len(unknown):,} words; the first is tagged {tag!r}"
        return CheckResult(name, "failed", found, expected, f"{split} row {row['id']}")
    return CheckResult(name, "passed", ", ".join(data.labels), expected)


def tags_consistent(data: Labelled) -> CheckResult:
    """No tag goes on with an entity that nothing has begun (BIO)."""
    name, expected = "tags begin entities", "before each I-X stands a B-X or I-X"
    every = [(split, row) for split, rows in data.rows.items() for row in rows]
    if not marks_entities([row["tags"] for _, row in every]):
        return CheckResult(name, "skipped", "the tags are of single words", expected)
    wrong = [(split, row, place) for split, row in every if (place := fault(row["tags"])) is not None]
    if wrong:
        split, row, place = wrong[0]
        found = f"{len(wrong):,} of {len(every):,} rows; the first has {row['tags'][place]} on "
        found += f"{row['words'][place]!r}. Mend the tags, or write them in BIO, IOB1, BILOU or BIOES"
        return CheckResult(name, "failed", found, expected, f"{split} row {row['id']}")
    return CheckResult(name, "passed", f"{len(every):,} rows", expected)


def words_cut_off(data: Labelled) -> CheckResult:
    """How many words have no tag, because the sentence is longer than what is read."""
    cut = [sum(first is None for first in text.firsts) for text in data.every_text]
    words = sum(len(text.firsts) for text in data.every_text)
    found = f"{sum(cut):,} of {words:,} words, in {sum(map(bool, cut)):,} sentences"
    return CheckResult("words cut off", "info", found, f"sentences of at most {data.max_length} tokens")


def words_read_alone(model: PreTrainedModel, data: Labelled, texts: list[TaggedText]) -> CheckResult:
    """Each word's logits are those that its sentence has alone, whatever is padded and stands beside it.

    With another sentence behind its first token they move.
    """
    expected = "logits as of the sentence alone"
    more = int(min(MORE, longest(model) - max(len(text.input_ids) for text in texts)))
    with still(model):
        together = logits_of(model, data.collate(texts, more)).float()
        for place, text in enumerate(texts):
            alone = logits_of(model, data.collate([text])).float()[0]
            moved = (together[place, : len(text.input_ids)] - alone).abs().max().item()
            if not moved <= UNEQUAL * alone.abs().max().item():
                found = f"logits differ by {moved:.2g} in a batch with {more} tokens more of padding"
                where = f"train row {data.rows['train'][place]['id']}"
                return CheckResult(READING, "failed", found, expected, where)
    lengths = [len(text.input_ids) for text in texts]
    found = f"{len(texts)} sentences of {min(lengths)} to {max(lengths)} tokens"
    return CheckResult(READING, "passed", found, expected)
