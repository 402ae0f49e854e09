"""The losses stage: two recipes of pretraining, of one seed or several, by their losses on the same text."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tasks.batches.blocks import evaluation_rows, validation_batches
from tasks.config import LossesConfig, PretrainedConfig
from tasks.data.token_files import IGNORED, Split, TokenFiles, load_tokens
from tasks.errors import StageError
from tasks.machine.device import pick_device
from tasks.machine.json_files import Json, read_json, write_json
from tasks.models.architectures import HuggingFaceCausal
from tasks.models.kernels import loss_by_token
from tasks.models.loading import load_causal
from tasks.models.summary import ModelSummary, read_history
from tasks.pretrain.losses_document import document
from tasks.pretrain.outputs import SPEED, TIMES, LossComparison
from tasks.record.outputs import read_auxiliary
from tasks.record.stage import StageRun, metrics_of
from tasks.statistics.losses import LossDifference, difference_of_losses

LEAST_DOCUMENTS = 30  # that an interval is made of; a text of fewer is cut into stretches
STRETCHES = 100


def losses(config: LossesConfig, run: StageRun, *, tokens: Path, **made: Path) -> None:
    """Compare the models `a_1`, `a_2`, ... with `b_1`, `b_2`, ... on the validation split of `tokens`.

    Each predicts the text as it was evaluated in training, in blocks of its own context, in float32. Writes
    `losses.json`; aside, the page `losses.html`, and what each training took.

    Raises StageError for a model that is not causal, and for a text of fewer than two predicted tokens.
    """
    files, device = load_tokens(tokens), pick_device(config.device)
    folders = {side: [made[name] for name in sorted(made, key=_number) if name[0] == side] for side in "ab"}
    of, done = sum(map(len, folders.values())), 0
    measured: dict[str, np.ndarray] = {}
    for side, recipe in (("a", config.a), ("b", config.b)):
        own = []
        for folder in folders[side]:
            run.progress(done, of, "models", "")
            model = HuggingFaceCausal(load_causal(folder / "model")).to(device)
            own.append(token_losses(model, files, recipe.context, recipe.document_mask))
            done += 1
        measured[side] = np.stack(own)
    known = ~np.isnan(measured["a"][0]) & ~np.isnan(measured["b"][0])
    numbers, part = parts_of(files.validation, max(config.a.context, config.b.context))
    if len(np.unique(numbers[known])) < 2:
        raise StageError("the validation split is too short to compare losses on; raise tokenize.validation")
    found = _comparison(config, files, folders, measured, known, numbers, part)
    found.write(run.out)
    times = _times(run)
    write_json(run.auxiliary / TIMES, times)
    run.log_document("losses", document(found.as_json() | {"times": times}), f"{found.tokens:,} tokens")
    run.log_metrics({name: found.difference[name] for name in ("difference", "low", "high", "p")})
    run.progress(of, of, "models", "")


@torch.no_grad()
def token_losses(model: HuggingFaceCausal, files: TokenFiles, context: int, apart: bool) -> np.ndarray:
    """The loss in nats of each token (tokens,) of the validation split, NaN for one that is not predicted."""
    device, rows = next(model.parameters()).device, evaluation_rows(context, files.vocab_size)
    model.eval()
    streams: list[np.ndarray] = []
    for stream in files.validation_streams().values():
        found, at = np.full(len(stream), np.nan), 1
        for batch in validation_batches(stream, context, rows, apart):
            own = batch.to(device)
            labels = own.labels.flatten()
            each = loss_by_token(model(own.inputs, documents=own.documents), own.labels).flatten()
            found[at : at + len(each)] = each.masked_fill(labels == IGNORED, math.nan).cpu().numpy()
            at += len(each)
        streams.append(found)
    return np.concatenate(streams)


def parts_of(split: Split, context: int) -> tuple[np.ndarray, str]:
    """The number of each token's part (tokens,), and what the parts are.

    Documents, where there are enough; else stretches of one length, at least as long as a context: what makes
    a passage hard to predict makes its neighbours hard, so that single tokens tell less than as many others.
    """
    places = np.arange(len(split))
    if len(split.ends) >= LEAST_DOCUMENTS:
        return np.searchsorted(split.ends, places.astype(split.ends.dtype), side="right"), "documents"
    count = max(2, min(STRETCHES, len(split) // context))
    return places * count // max(1, len(split)), "stretches"


def _comparison(
    config: LossesConfig,
    files: TokenFiles,
    folders: dict[str, list[Path]],
    measured: dict[str, np.ndarray],
    known: np.ndarray,
    numbers: np.ndarray,
    part: str,
) -> LossComparison:
    parts, own = np.unique(numbers[known], return_inverse=True)
    counts = np.bincount(own).astype(np.float64)
    a, b = (np.stack([np.bincount(own, one[known]) for one in measured[side]]) for side in "ab")
    tokens = int(known.sum())
    size = files.predicted_bytes(config.a.document_mask or config.b.document_mask)
    bits = tokens / math.log(2) / size  # bits a byte in a nat a token
    return LossComparison(
        tokens=tokens,
        bytes=size,
        parts=len(parts),
        part=part,
        tokens_per_part=tokens / len(parts),
        paired_seeds=config.paired_seeds,
        a=_recipe(config.a, folders["a"], a.sum(axis=1) / tokens, bits),
        b=_recipe(config.b, folders["b"], b.sum(axis=1) / tokens, bits),
        difference=_in_bits(difference_of_losses(a, b, counts, config.paired_seeds), bits),
    )


def _recipe(config: PretrainedConfig, folders: Sequence[Path], means: np.ndarray, bits: float) -> Json:
    summaries = [ModelSummary.read(folder).numbers for folder in folders]
    shape = read_json(folders[0] / "model" / "config.json")
    return {
        "family": shape["model_type"],
        "parameters": summaries[0]["parameters"],
        "tokens": summaries[0]["tokens"],
        "context": config.context,
        "seeds": list(config.seeds),
        "loss": float(means.mean()),
        "by_seed": means.tolist(),
        "bits_per_byte": float(means.mean()) * bits,
        "curve": _curve(folders),
    }


def _curve(folders: Sequence[Path]) -> list[list[float]]:
    """Of each evaluation that all seeds made: tokens, and the mean, lowest and highest validation loss."""
    histories = [
        {one["tokens"]: one["validation_loss"] for one in read_history(folder) if "validation_loss" in one}
        for folder in folders
    ]
    common = sorted(set(histories[0]).intersection(*histories[1:]))
    rows = ((tokens, [own[tokens] for own in histories]) for tokens in common)
    return [[tokens, sum(values) / len(values), min(values), max(values)] for tokens, values in rows]


def _in_bits(found: LossDifference, bits: float) -> Json:
    """Every number but the p-value in bits a byte."""
    values = asdict(found) | {"by_seed": list(found.by_seed)}
    p = values.pop("p")
    scaled = {
        name: [one * bits for one in value] if isinstance(value, list) else value * bits
        for name, value in values.items()
    }
    return scaled | {"p": p}


def _times(run: StageRun) -> Json:
    """What each training took, by the name of its input, of the run that made it; empty without MLflow."""
    client = run.tracking.client if run.tracking else None
    made = {name: own for name, own in run.references.items() if name != "tokens"} if client else {}
    return {
        name: {"seconds": metrics_of(client.get_run(own.run_id)).get("seconds")}
        | json.loads(read_auxiliary(own, SPEED))
        for name, own in made.items()
    }


def _number(name: str) -> int:
    return int(name.partition("_")[2])
