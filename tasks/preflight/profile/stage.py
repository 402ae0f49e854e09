"""The preflight as a stage of its own: the checks of a profile, without the training."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from tasks.batches.seq2seq import Seq2SeqData, require_source, seq2seq_data
from tasks.batches.supervised import tell_cuts, tell_replies
from tasks.batches.tuning import TuningData, preference_data, sft_data
from tasks.classify.tasks import task_of
from tasks.config import PreflightConfig, TuningConfig
from tasks.data.token_files import Split, load_tokens, pretrained_on
from tasks.errors import StageError
from tasks.machine.device import pick_device
from tasks.models.architectures import build_model, context_of
from tasks.models.kinds import is_seq2seq, require_one_stack, require_writer
from tasks.models.loading import load_tokenizer
from tasks.models.reward import reward_tokenizer
from tasks.models.summary import CLASSIFICATION
from tasks.preflight import require
from tasks.preflight.pretraining import preflight_pretraining
from tasks.preflight.report import Report
from tasks.preflight.seq2seq import preflight_pairs
from tasks.preflight.tuning import PREFERENCES, preflight_rows
from tasks.record.stage import StageRun
from tasks.reinforce.prompts import prompt_data
from tasks.reward_models.checks import preflight_preferred
from tasks.reward_models.data import pair_data
from tasks.rows import load_groups
from tasks.rows.kinds import kind_in
from tasks.tokenize.templates import require_room


def preflight(
    config: PreflightConfig,
    run: StageRun,
    *,
    tokens: Path | None = None,
    rows: Path | None = None,
    base: Path | None = None,
) -> None:
    """Check the model and the tokens that pretraining would begin with, and the rows to fine-tune on.

    `base` is a model that is imported; there are no tokens then. Writes `preflight.json`. A model that is
    to be trained first does not exist yet: it is checked when its fine-tuning starts. With `rows_only` the
    rows alone are checked, for trainings that would refuse what failed: what a pipeline can know of them
    before hours of pretraining.

    Raises RefusedError naming all that failed, StageError for a row that cannot be trained on or answered,
    naming the training.
    """
    require(run, "refuse", lambda: _check(config, run, tokens, rows, base))


def _check(
    config: PreflightConfig, run: StageRun, tokens: Path | None, rows: Path | None, base: Path | None
) -> Report:
    report = Report(())
    words = base / "model" if base else tokens / "tokenizer"
    if not base and not config.rows_only:
        files, device = load_tokens(tokens), pick_device(config.pretrain.device)
        run.phase("making the model")
        with torch.random.fork_rng([]):
            model = build_model(config.pretrain, files, run.fingerprints).to(device)
        tokenizer = load_tokenizer(words)
        report += preflight_pretraining(model, tokenizer, files, config.pretrain, device, run.phase)
    read, context = pretrained_on(tokens), _context(config, base)
    if base and config.finetune:
        with _told_of("finetune"):
            require_writer(words)
    others = [name for name in ("reward", "dpo", "grpo", "classify") if getattr(config, name)]
    for other in others if base else ():
        with _told_of(other):
            require_one_stack(words, other)
    for found in _rows_checked(config, run, words, rows, context, read) if rows else ():
        report += found
    return report


def _context(config: PreflightConfig, base: Path | None) -> float:
    """The longest sequence of the model that is to be fine-tuned."""
    if base:
        return context_of(base / "model")
    pretrain = config.pretrain
    return context_of(pretrain.model, pretrain.revision) if pretrain.model else pretrain.context


def _rows_checked(
    config: PreflightConfig,
    run: StageRun,
    words: Path,
    rows: Path,
    context: float,
    corpus: Split | None,
) -> Iterator[Report]:
    """Of each fine-tuning; `words` is the tokenizer's folder."""
    run.phase("tokenizing the rows")
    if config.finetune and is_seq2seq(words):
        with _told_of("finetune"):
            sourced = seq2seq_data(config.finetune, load_tokenizer(words), rows, context)
            _require_read(sourced, context)
        tell_cuts(partial(_say, run, "finetune"), sourced.every_pair, sourced.max_length, "targets")
        if _refuses(config, config.finetune):
            yield preflight_pairs(sourced, run.phase, corpus)
    elif config.finetune:
        with _told_of("finetune"):
            data = sft_data(config.finetune, load_tokenizer(words), rows, context)
            _require_answerable(data, context)
        tell_cuts(partial(_say, run, "finetune"), data.every_example, data.max_length, "rows")
        tell_replies(partial(_say, run, "finetune"), data.every_example)
        if _refuses(config, config.finetune):
            yield preflight_rows(data, phase=run.phase, corpus=corpus)
    if config.reward:
        with _told_of("reward"):
            ordered = pair_data(config.reward, reward_tokenizer(words), rows, context)
        tell_cuts(partial(_say, run, "reward"), ordered.every_example, ordered.max_length, "responses")
        if _refuses(config, config.reward):
            yield preflight_preferred(ordered, run.phase)
    if config.dpo:
        with _told_of("dpo"):
            pairs = preference_data(config.dpo, load_tokenizer(words), rows, context)
        tell_cuts(partial(_say, run, "dpo"), pairs.every_example, pairs.max_length, "completions")
        if _refuses(config, config.dpo):
            yield preflight_rows(pairs, PREFERENCES, run.phase)
    if config.grpo:
        with _told_of("grpo"):
            prompt_data(config.grpo, load_tokenizer(words), rows, context)
    if config.classify:
        with _told_of("classify"):
            task = task_of(kind_in(rows) or CLASSIFICATION)
            tokenizer, labelled = task.tokenizer(words), task.read(rows)
            texts = task.data(config.classify, tokenizer, labelled, context, load_groups(rows))
        tell_cuts(partial(_say, run, "classify"), texts.every_text, texts.max_length, "texts")
        if _refuses(config, config.classify):
            yield task.preflight_rows(texts, run.phase, corpus)


def _refuses(config: PreflightConfig, training: TuningConfig) -> bool:
    """Whether to check the rows here; before a pipeline, what is only a warning is left to the training."""
    return not config.rows_only or training.preflight == "refuse"


def _require_answerable(data: TuningData, context: float) -> None:
    test = data.rows["test"]
    for row, prompt in zip(test, data.template.prompts_ids(test), strict=True):
        require_room(f"{row['id']} of the test split", prompt, context)


def _require_read(data: Seq2SeqData, context: float) -> None:
    test = data.rows["test"]
    for row, source in zip(test, data.template.sources_ids(test), strict=True):
        require_source(f"{row['id']} of the test split", source, context)


def _say(run: StageRun, training: str, told: str) -> None:
    run.say(f"{training}: {told}")


@contextmanager
def _told_of(training: str) -> Iterator[None]:
    """The training that an error is of, before its message."""
    try:
        yield
    except StageError as error:
        raise error.retold(f"{training}: {error}") from error
