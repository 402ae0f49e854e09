"""The preflight as a stage of its own: the proofs of a profile, without the training."""

from collections.abc import Iterator
from pathlib import Path

import torch

from tasks.config import PreflightConfig
from tasks.device import pick_device
from tasks.finetune.data import preference_data, sft_data
from tasks.finetune.labelled import classifying_tokenizer, labelled_texts, read_labelled
from tasks.gpt import GPT
from tasks.models import load_model, load_tokenizer
from tasks.preflight import require
from tasks.preflight.classification import preflight_texts
from tasks.preflight.pretraining import preflight_pretraining
from tasks.preflight.report import Report
from tasks.preflight.tuning import PREFERENCES, preflight_rows
from tasks.pretrain.models import build_model, longest
from tasks.record import StageRun
from tasks.rows import load_groups
from tasks.tokens import Split, load_tokens


def preflight(
    config: PreflightConfig,
    run: StageRun,
    *,
    tokens: Path | None = None,
    rows: Path | None = None,
    base: Path | None = None,
) -> None:
    """Prove the model and the tokens that pretraining would begin with, and the rows to fine-tune on.

    `base` is a model that is taken over; there are no tokens then. Writes `preflight.json`. A model that is
    to be trained first does not exist yet: it is proved when its fine-tuning starts. Raises RefusedError
    naming all that failed.
    """
    require(run, "refuse", lambda: _prove(config, run, tokens, rows, base))


def _prove(
    config: PreflightConfig, run: StageRun, tokens: Path | None, rows: Path | None, base: Path | None
) -> Report:
    report, corpus = Report(()), None
    words = base / "model" if base else tokens / "tokenizer"
    if base:
        run.phase("loading the base model")
        model, tokenizer = load_model(words)
        context = longest(model)
    else:
        files, device = load_tokens(tokens), pick_device(config.pretrain.device)
        corpus = files.train
        tokenizer = load_tokenizer(words)
        run.phase("making the model")
        with torch.random.fork_rng([]):
            model = build_model(config.pretrain, files).to(device)
        report += preflight_pretraining(model, tokenizer, files, config.pretrain, device, run.phase)
        context = model.config.context if isinstance(model, GPT) else longest(model.model)
    for found in _rows_proved(config, run, words, rows, context, corpus) if rows else ():
        report += found
    return report


def _rows_proved(
    config: PreflightConfig,
    run: StageRun,
    words: Path,
    rows: Path,
    context: float,
    corpus: Split | None,
) -> Iterator[Report]:
    """Of each fine-tuning; `words` is the tokenizer's folder."""
    run.phase("tokenizing the rows")
    if config.finetune:
        data = sft_data(config.finetune, load_tokenizer(words), rows, context)
        yield preflight_rows(data, phase=run.phase, corpus=corpus)
    if config.dpo:
        pairs = preference_data(config.dpo, load_tokenizer(words), rows, context)
        yield preflight_rows(pairs, PREFERENCES, run.phase)
    if config.classify:
        tokenizer, labelled = classifying_tokenizer(words), read_labelled(rows)
        texts = labelled_texts(config.classify, tokenizer, labelled, context, load_groups(rows))
        yield preflight_texts(texts, run.phase, corpus)
