"""The checks before a classifier is trained: its labels, its splits, where it is read, what is trained.

As all checks of models these run without dropout and leave weights and random states as they were.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.batches.evaluation import logits_of
from tasks.batches.labelled import Labelled, Text
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.models.architectures import longest
from tasks.models.classifier import classifier_output, heads_of, last_parts
from tasks.models.encoders import is_encoder
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.contamination import check_corpus
from tasks.preflight.example import decoded
from tasks.preflight.model import UNEQUAL, learns, some, still
from tasks.preflight.report import CheckResult, Report
from tasks.preflight.splits import rows_apart
from tasks.record.stage import say_nothing

CLASSIFICATION = "classification"
READ = 512  # tokens of the texts that the model is checked on
MORE = 5  # padding added beyond the longest text, at most: the model may have no position for it
ALLOWED = 0.5  # nats that the first loss may be off guessing: far beyond what a head of 1/width costs
UNLIKE = 0.1  # of a label's share, between a split and the training split, is worth a remark

Loss = Callable[[Any, Tensor], Tensor]
"""What the trainer minimises: of a model's output and labels (texts,), the mean."""


def preflight_classification(
    config: ClassifyConfig,
    model: PreTrainedModel,
    data: Labelled,
    loss: Loss,
    phase: Callable[[str], None] = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check the model as it is before the first step, on the device it is on, and the rows.

    `corpus` is what the model was pretrained on, where that is known.
    """
    checks = checks_of_model(config, model, data, loss, math.log(len(data.labels)))
    return _checked(checks, data, phase, corpus)


def checks_of_model(
    config: ClassifyConfig,
    model: PreTrainedModel,
    data: Labelled,
    loss: Loss,
    guess: float,
    reading: Check | None = None,
) -> list[Check]:
    """The checks of any classifier; `guess` is the loss of a new head, in nats.

    `reading` is that of where a text is read; without it, of a model that gives logits for a whole text.
    """
    texts = first_texts(data)
    width = model.config.get_text_config().hidden_size
    return [
        Check("only the intended weights are trained", lambda: only_intended(config, model)),
        reading or Check(_reading(model), lambda: reads_text_alone(model, data, texts)),
        Check("initial loss", lambda: initial_loss(model, data, texts, loss, guess)),
        Check(
            "learns one batch",
            lambda: learns(model, lambda: _loss(model, data, texts, loss), width, f"{len(texts)} texts"),
        ),
    ]


def preflight_texts(
    data: Labelled, phase: Callable[[str], None] = say_nothing, corpus: Split | None = None
) -> Report:
    """Check what a classifier learns from, whatever the model."""
    return _checked([], data, phase, corpus)


def _checked(
    checks: Sequence[Check], data: Labelled, phase: Callable[[str], None], corpus: Split | None
) -> Report:
    """The report of a model's checks, and of the texts."""
    own = [
        Check("labels known", lambda: labels_known(data)),
        Check("label shares", lambda: shares_alike(data)),
    ]
    row = data.rows["train"][0]
    return report_of(checks, own, data, phase, corpus, f"label {row['label']}")


def report_of(
    checks: Sequence[Check],
    own: Sequence[Check],
    data: Labelled,
    phase: Callable[[str], None],
    corpus: Split | None,
    answer: str,
    trained: Sequence[bool] = (),
) -> Report:
    """The report of a model's checks, of those of a task's `own` rows, and of what holds for all rows.

    `answer` is that of the first training row, which is shown; `trained` says which of its tokens have one.
    """
    of_texts = [
        Check("padding is no text", lambda: no_text_holds_padding(data)),
        Check("splits share no row", lambda: rows_apart(data.rows, data.groups)),
        check_corpus(corpus, data.tokenizer, data.rows),
        Check("cut by the context", lambda: cut_texts(data)),
    ]
    results = run_checks([*checks, *own, *of_texts], phase)
    row, text = data.rows["train"][0], data.texts["train"][0]
    example = decoded(data.tokenizer, text.input_ids, trained or [False] * len(text.input_ids))
    return Report.of(CLASSIFICATION, results, f"train row {row['id']}, {answer}\n{example}")


def first_texts(data: Labelled) -> list[Text]:
    """The first training texts, two at least, of as many labels as they are."""
    chosen: list[Text] = []
    for text in data.texts["train"]:
        tokens = sum(len(other.input_ids) for other in chosen)
        if len(chosen) >= 2 and (len(chosen) == data.batch_size or tokens + len(text.input_ids) > READ):
            break
        chosen.append(text)
    return chosen


# The rows


def labels_known(data: Labelled) -> CheckResult:
    """Every row's label is one that the training rows have, so that it can be learned."""
    name, expected = "labels known", "every row's label is one of the training rows"
    learned = {text.label for text in data.texts["train"]}
    unknown = [
        (split, row)
        for split, texts in data.texts.items()
        for row, text in zip(data.rows[split], texts, strict=True)
        if text.label not in learned
    ]
    if unknown:
        split, row = unknown[0]
        found = f"{len(unknown):,} rows; the first is labelled {row['label']!r}"
        return CheckResult(name, "failed", found, expected, f"{split} row {row['id']}")
    rows = sum(map(len, data.texts.values()))
    return CheckResult(name, "passed", f"{rows:,} rows, labelled {', '.join(data.labels)}", expected)


def shares_alike(data: Labelled) -> CheckResult:
    """The share of each label in each split; a tenth off the training rows' is pointed at."""
    shares = {}
    for split, texts in data.texts.items():
        counts = Counter(text.label for text in texts)
        if texts:
            shares[split] = [counts[place] / len(texts) for place in range(len(data.labels))]
    off = [
        f"{split}: {label}"
        for split, own in shares.items()
        for label, share, learned in zip(data.labels, own, shares["train"], strict=True)
        if abs(share - learned) > UNLIKE
    ]
    found = "; ".join(
        f"{split} {', '.join(f'{label} {share:.1%}' for label, share in zip(data.labels, own, strict=True))}"
        for split, own in shares.items()
    )
    return CheckResult("label shares", "info", found, "about the same in every split", ", ".join(off))


def no_text_holds_padding(data: Labelled) -> CheckResult:
    """A model is read at the last token that is not padding; a text that ended with it is cut short."""
    padding = data.tokenizer.pad_token_id
    name, expected = "padding is no text", f"no text ends with token {padding}, the padding"
    for split, texts in data.texts.items():
        for row, text in zip(data.rows[split], texts, strict=True):
            if text.input_ids[-1] == padding:
                found = f"a text ends with {data.tokenizer.pad_token!r}"
                return CheckResult(name, "failed", found, expected, f"{split} row {row['id']}")
    return CheckResult(name, "passed", f"the padding is {data.tokenizer.pad_token!r}", expected)


def cut_texts(data: Labelled) -> CheckResult:
    """How many texts were cut, and how much of them is lost."""
    every = data.every_text
    lost, total = sum(t.lost for t in every), sum(len(t.input_ids) + t.lost for t in every)
    cut, pairs = sum(t.lost > 0 for t in every), "text_pair" in data.rows["train"][0]
    where = "of the longer text of each pair" if pairs else "all of them at the end"
    found = f"{cut:,} of {len(every):,} texts, {lost:,} of {total:,} tokens, {where}"
    return CheckResult("cut by the context", "info", found, f"texts of at most {data.max_length} tokens")


# The model


def only_intended(config: ClassifyConfig, model: PreTrainedModel) -> CheckResult:
    """The weights that are trained are those that `config.tune` names, all of them and no others."""
    name = "only the intended weights are trained"
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    every = {key for key, _ in model.named_parameters()}
    if config.tune == "lora":
        heads = [f".{name}.modules_to_save." for name in heads_of(model.get_base_model())]
        intended = {key for key in every if ".lora_" in key or any(head in key for head in heads)}
        expected = "adapters and head"
    elif config.tune == "last-block":
        parts = last_parts(model)
        intended = {key for key in every if key.startswith(tuple(f"{part}." for part in parts))}
        expected = ", ".join(parts)
    else:
        intended, expected = every, "all"
    parameters = dict(model.named_parameters())
    count = sum(parameters[key].numel() for key in trained)
    found = f"{count:,} of {sum(p.numel() for p in parameters.values()):,} weights"
    if trained == intended:
        return CheckResult(name, "passed", found, expected)
    if wrong := sorted(trained - intended):
        return CheckResult(name, "failed", f"{found}, {some(wrong)} among them", expected, wrong[0])
    lacking = sorted(intended - trained)
    return CheckResult(name, "failed", f"{found}; {some(lacking)} is frozen", expected, lacking[0])


def _reading(model: PreTrainedModel) -> str:
    """The name of the check of where a text is read: an encoder reads all of it from both sides."""
    return "read whole, without padding" if is_encoder(model.config) else "read at the last token"


def reads_text_alone(model: PreTrainedModel, data: Labelled, texts: list[Text]) -> CheckResult:
    """Each text's logits are those that it has alone, whatever stands beside it and behind it (PITFALLS 16).

    In a batch, with more padding, with noise for what padding is embedded as, and among other texts they
    stay; with another last token they move, and those of an encoder with other tokens behind the first.
    """
    name, encodes = _reading(model), is_encoder(model.config)
    expected = "logits as of the text alone; another last token moves them"
    if encodes:
        expected = "logits as of the text alone; another text moves them"
    more = int(min(MORE, longest(model) - max(len(text.input_ids) for text in texts)))
    with still(model):
        alone = torch.cat([_logits(model, data, [text]) for text in texts])
        limit = UNEQUAL * alone.abs().max().item()
        others = [texts[0], *reversed(texts[1:])]
        together = {
            "in a batch": _logits(model, data, texts),
            f"with {more} tokens more of padding": _logits(model, data, texts, more),
            "with noise for padding": _logits(model, data, texts, more, noise=True),
            "among other texts": torch.cat([_logits(model, data, [text, *others])[:1] for text in texts]),
        }
        for how, logits in together.items():
            moved = (logits - alone).abs().amax(dim=1)
            if not moved.max() <= limit:
                place = int(moved.nan_to_num(math.inf).argmax())
                found = f"logits differ by {moved[place]:.2g} {how}"
                return CheckResult(name, "failed", found, expected, _place(data, place))
        vocabulary = model.get_input_embeddings().num_embeddings
        kept = [1 if encodes else len(text.input_ids) - 1 for text in texts]
        changed = [_other_end(*each, data, vocabulary) for each in zip(texts, kept, strict=True)]
        moved = (_logits(model, data, changed) - alone).abs()
    if (unmoved := moved.amax(dim=1) <= limit).any():
        other = "another text" if encodes else "another last token"
        found = f"{other} does not move the logits: it is not read"
        return CheckResult(name, "failed", found, expected, _place(data, int(unmoved.int().argmax())))
    lengths = [len(text.input_ids) for text in texts]
    found = f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens"
    return CheckResult(name, "passed", found, expected)


def _place(data: Labelled, place: int) -> str:
    return f"train row {data.rows['train'][place]['id']}"


def _other_end(text: Text, kept: int, data: Labelled, vocabulary: int) -> Text:
    """The text with other tokens behind the first `kept`, none of which is padding."""
    padding = data.tokenizer.pad_token_id
    end = [(token + 1) % vocabulary for token in text.input_ids[kept:]]
    end = [(token + 1) % vocabulary if token == padding else token for token in end]
    return replace(text, input_ids=[*text.input_ids[:kept], *end])


def _logits(
    model: PreTrainedModel, data: Labelled, texts: list[Text], more: int = 0, noise: bool = False
) -> Tensor:
    batch = data.collate(texts, more)
    with _noise_for_padding(model, batch["attention_mask"] if noise else torch.ones(1, 1)):
        return logits_of(model, batch).float()


@contextmanager
def _noise_for_padding(model: PreTrainedModel, mask: Tensor) -> Iterator[None]:
    """What `mask` (texts, time) leaves out is embedded as noise."""

    def add(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
        noise = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(0)).to(embedded)
        return embedded + noise * (mask == 0).to(embedded.device)[..., None]

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def initial_loss(
    model: PreTrainedModel, data: Labelled, texts: list[Text], loss: Loss, guess: float | None = None
) -> CheckResult:
    """The mean loss before any step, against guessing: ln(labels), where all are alike."""
    with still(model):
        found = _loss(model, data, texts, loss).item()
    outputs = math.log(len(data.labels)) if guess is None else guess
    verdict = "passed" if abs(found - outputs) <= ALLOWED else "failed"
    expected = f"a new head guesses: ln({math.exp(outputs):.0f}) = {outputs:.3f}, at most {ALLOWED} off"
    return CheckResult("initial loss", verdict, f"{found:.3f} nats a text", expected)


def _loss(model: PreTrainedModel, data: Labelled, texts: list[Text], loss: Loss) -> Tensor:
    batch = {name: tensor.to(model.device) for name, tensor in data.collate(texts).items()}
    labels = batch.pop("labels")
    return loss(classifier_output(model, batch), labels)
