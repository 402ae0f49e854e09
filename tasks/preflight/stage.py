"""The preflight as a stage of its own: the proofs of a profile, without the training."""

from pathlib import Path

import torch
from transformers import AutoTokenizer

from tasks.config import PreflightConfig
from tasks.device import pick_device
from tasks.finetune.data import tuning_data
from tasks.gpt import GPT
from tasks.preflight import require
from tasks.preflight.pretraining import preflight_pretraining
from tasks.preflight.report import Report
from tasks.preflight.tuning import preflight_rows
from tasks.pretrain.models import build_model, longest
from tasks.record import StageRun
from tasks.tokens import load_tokens


def preflight(config: PreflightConfig, run: StageRun, *, tokens: Path, rows: Path | None = None) -> None:
    """Prove the model and the tokens that pretraining would begin with, and the rows to fine-tune on.

    Writes `preflight.json`. The model that is fine-tuned does not exist yet: it is proved when that starts.
    Raises RefusedError naming all that failed.
    """
    require(run, "refuse", lambda: _prove(config, tokens, rows))


def _prove(config: PreflightConfig, tokens: Path, rows: Path | None) -> Report:
    files, device = load_tokens(tokens), pick_device(config.pretrain.device)
    tokenizer = AutoTokenizer.from_pretrained(tokens / "tokenizer", trust_remote_code=False)
    with torch.random.fork_rng([]):
        model = build_model(config.pretrain, files).to(device)
    report = preflight_pretraining(model, tokenizer, files, config.pretrain, device)
    if config.finetune is None or rows is None:
        return report
    context = model.config.context if isinstance(model, GPT) else longest(model.model)
    return report + preflight_rows(tuning_data(config.finetune, tokenizer, rows, context))
