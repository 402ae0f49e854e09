"""The checks before a model learns to find answers: its windows and their labels, what it reads of them."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.batches.questions import Asked, Questions, logits_of, span_loss
from tasks.config import ClassifyConfig
from tasks.data.token_files import Split
from tasks.models.architectures import longest
from tasks.models.classifier import classifier_output
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.classification import ALLOWED, MORE, READ, only_intended
from tasks.preflight.contamination import check_corpus
from tasks.preflight.example import decoded
from tasks.preflight.model import UNEQUAL, learns, still
from tasks.preflight.report import CheckResult, Report
from tasks.preflight.splits import rows_apart
from tasks.record.stage import say_nothing

QUESTIONS = "questions"
CUT = 0.05  # of the answers that stand whole in no window are learned as none: more teach to give none
WIDER = 0.5  # of the answers whose tokens hold more than the answer can never be given exactly


def preflight_questions(
    config: ClassifyConfig,
    model: PreTrainedModel,
    data: Questions,
    phase: Callable[[str], None] = say_nothing,
    corpus: Split | None = None,
) -> Report:
    """Check the model as it is before the first step, on the device it is on, and the rows."""
    windows = _first_windows(data)
    width = model.config.get_text_config().hidden_size
    checks = [
        Check("only the intended weights are trained", partial(only_intended, config, model)),
        Check("reads a window alone", partial(reads_window_alone, model, data, windows)),
        Check("initial loss", partial(initial_loss, model, data, windows)),
        Check(
            "learns one batch",
            lambda: learns(model, partial(_loss, model, data, windows), width, f"{len(windows)} windows"),
        ),
    ]
    return _checked(checks, data, phase, corpus)


def preflight_asked(
    data: Questions, phase: Callable[[str], None] = say_nothing, corpus: Split | None = None
) -> Report:
    """Check what is learned from, whatever the model."""
    return _checked([], data, phase, corpus)


def _checked(
    checks: Sequence[Check], data: Questions, phase: Callable[[str], None], corpus: Split | None
) -> Report:
    of_rows = [
        Check("labels are the answers", partial(labels_are_answers, data)),
        Check("answers within a window", partial(answers_within, data)),
        Check("splits share no row", partial(rows_apart, data.rows, data.groups)),
        check_corpus(corpus, data.tokenizer, data.rows),
    ]
    results = run_checks([*checks, *of_rows], phase)
    each = data.texts["train"][0]
    row = data.rows["train"][each.row]
    trained = [each.start <= place <= each.end for place in range(len(each.input_ids))]
    example = decoded(data.tokenizer, each.input_ids, trained)
    answer = (row["answers"]["text"] or ["none"])[0]
    return Report.of(QUESTIONS, results, f"train row {row['id']}, answer {answer}\n{example}")


def _first_windows(data: Questions) -> list[Asked]:
    chosen: list[Asked] = []
    for window in data.texts["train"]:
        tokens = sum(len(other.input_ids) for other in chosen)
        if len(chosen) >= 2 and (len(chosen) == data.batch_size or tokens + len(window.input_ids) > READ):
            break
        chosen.append(window)
    return chosen


# The rows


def labels_are_answers(data: Questions) -> CheckResult:
    """The text of the labelled tokens holds the answer, and of most is the answer and no more.

    A token may go on where the answer ends, as in "1990s": such an answer can be given only with the rest.
    """
    name, expected = "labels are the answers", "the labelled tokens hold the answer, most of them it alone"
    held = wider = 0
    first = ""
    for split, windows in data.texts.items():
        for each in windows:
            row = data.rows[split][each.row]
            if not each.holds_answer:
                continue
            begin, end = (each.window.offsets[place] for place in (each.start, each.end))
            answer = row["answers"]["text"][0].strip()
            where = f"{split} row {row['id']}"
            if begin is None or end is None:
                found = f"a label of {answer!r} is on a token that is not of the context"
                return CheckResult(name, "failed", found, expected, where)
            text = row["context"][begin[0] : end[1]].strip()
            if answer not in text:
                found = f"the labelled tokens are {text!r}, the answer {answer!r}"
                return CheckResult(name, "failed", found, expected, where)
            held += 1
            wider += text != answer
            first = first or ("" if text == answer else f"{where}: {text!r} for {answer!r}")
    if not held:
        return CheckResult(name, "failed", "no window holds an answer", "answers to learn")
    verdict = "failed" if wider > WIDER * held else "passed"
    return CheckResult(name, verdict, f"{held:,} labels, {wider:,} of them with more", expected, first)


def answers_within(data: Questions) -> CheckResult:
    """How many answers stand whole in a window; of the others each window is learned to hold none."""
    name = "answers within a window"
    expected = f"at most {CUT:.0%} of the answers in no window of {data.max_length} tokens"
    asked = lost = windows = 0
    first = ""
    for split, rows in data.rows.items():
        windows += len(data.texts[split])
        for row, places in zip(rows, data.windows_by_row(split), strict=True):
            if not row["answers"]["text"]:
                continue
            asked += 1
            if not any(data.texts[split][place].holds_answer for place in places):
                lost += 1
                first = first or f"{split} row {row['id']}"
    questions = sum(map(len, data.rows.values()))
    found = f"{lost:,} of {asked:,} answers in none; {questions:,} questions, {windows:,} windows"
    verdict = "failed" if lost > CUT * asked else "passed"
    return CheckResult(name, verdict, found, expected, first)


# The model


def reads_window_alone(model: PreTrainedModel, data: Questions, windows: list[Asked]) -> CheckResult:
    """Each window's logits are those that it has alone, whatever is beside and behind it (PITFALLS 15)."""
    name, expected = "reads a window alone", "logits as of the window alone; another question moves them"
    more = int(min(MORE, longest(model) - max(len(each.input_ids) for each in windows)))
    with still(model):
        together = logits_of(model, data.collate(windows, more)).float()
        for place, each in enumerate(windows):
            alone = logits_of(model, data.collate([each])).float()[0]
            moved = (together[place, : len(alone)] - alone).abs().max().item()
            if not moved <= UNEQUAL * alone.abs().max().item():
                found = f"logits differ by {moved:.2g} in a batch with {more} tokens more of padding"
                return CheckResult(name, "failed", found, expected, _where(data, each))
        batch = data.collate(windows[:1])
        alone = logits_of(model, batch).float()
        batch["input_ids"][0, 1] = (
            batch["input_ids"][0, 1] + 1
        ) % model.get_input_embeddings().num_embeddings
        if torch.equal(logits_of(model, batch).float()[:, 2:], alone[:, 2:]):
            found = "another question does not move the logits of the context: it is not read"
            return CheckResult(name, "failed", found, expected, _where(data, windows[0]))
    return CheckResult(name, "passed", f"{len(windows)} windows", expected)


def _where(data: Questions, each: Asked) -> str:
    return f"train row {data.rows['train'][each.row]['id']}"


def initial_loss(model: PreTrainedModel, data: Questions, windows: list[Asked]) -> CheckResult:
    """The mean loss before any step, against guessing among all places of a window alike."""
    with still(model):
        found = _loss(model, data, windows).item()
    guess = sum(math.log(len(each.input_ids)) for each in windows) / len(windows)
    verdict = "passed" if abs(found - guess) <= ALLOWED else "failed"
    expected = f"a new head guesses among the tokens: {guess:.3f}, at most {ALLOWED} off"
    return CheckResult("initial loss", verdict, f"{found:.3f} nats a place", expected)


def _loss(model: PreTrainedModel, data: Questions, windows: list[Asked]) -> Tensor:
    batch = {name: tensor.to(model.device) for name, tensor in data.collate(windows).items()}
    labels = batch.pop("labels")
    output = classifier_output(model, batch)
    return span_loss(output.start_logits, output.end_logits, labels)
