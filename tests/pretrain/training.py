"""Trainings small enough for a test, and what they leave behind."""

import json
import time

import pytest

from tasks.config import PretrainConfig, TokenizeConfig
from tasks.errors import StoppedError
from tasks.machine.digests import sha256_of
from tasks.pretrain.stage import pretrain
from tasks.tokenize.stage import tokenize
from tests.runs import stage_run_in

# Dropout is on, so that a lost random state shows (pitfall 18).
SMALL = PretrainConfig(
    size="2x2x16",
    context=16,
    dropout=0.1,
    steps=9,
    batch_size=2,
    accumulation=2,
    learning_rate=1e-2,
    min_learning_rate=1e-3,
    warmup=3,
    eval_every=2,
    sample_prompt="The",
    preflight="warn",
    device="cpu",
)
MUON_APART = PretrainConfig(**SMALL.model_dump() | {"optimizer": "muon", "document_mask": True})


def changed(**fields):
    return PretrainConfig(**SMALL.model_dump() | fields)


def tokens_of(text, folder, **config):
    """The tokens of one text, or of a list of documents."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    if isinstance(text, str):
        (corpus / "text.txt").write_text(text, encoding="utf-8")
    else:
        rows = [json.dumps({"completion": document}, ensure_ascii=False) for document in text]
        (corpus / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    run = stage_run_in(folder)
    tokenize(TokenizeConfig(**{"vocab_size": 300} | config), run, corpus=corpus)
    return run.out


def tokens_of_sources(texts, folder, **config):
    """The tokens of sources by name, each a list of documents."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for name, documents in texts.items():
        rows = [json.dumps({"text": document}) for document in documents]
        (corpus / name).write_text("\n".join(rows), encoding="utf-8")
    run = stage_run_in(folder)
    sources = {"sources": tuple(texts)}
    tokenize(TokenizeConfig(**{"vocab_size": 300} | sources | config), run, corpus=corpus)
    return run.out


def trained(config, tokens, folder, **watching):
    run = stage_run_in(folder, **watching)
    pretrain(config, run, tokens=tokens)
    return run


def history_in(run, name="train_loss"):
    lines = (run.out / "history.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if name in entry]


def curve(run, name="train_loss"):
    return [entry[name] for entry in history_in(run, name)]


def run_checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoint").glob("step-*"))


def same_outputs(one, other):
    """By digest: of two large files that differ, pytest would spend minutes to show where."""
    return all(
        sha256_of(one.out / name) == sha256_of(other.out / name)
        for name in ("model/model.safetensors", "history.jsonl", "summary.json")
    )


class Stopped(Exception):  # noqa: N818
    """What stops a training in these tests."""


def stopping_after(last):
    def stop(done, *_):
        if done == last:
            raise Stopped

    return stop


def stopped_after(step, config, tokens, folder, *, at_least=False):
    """Train until the run is asked to stop at a step; returns what it said.

    Workers hear of it later, and stop after it `at_least`.
    """
    said = []

    def stop(done, _total, _unit, note):
        if done == step and note.startswith("loss"):
            run.stop.set()

    run = stage_run_in(folder, progress=stop, say=said.append)
    with pytest.raises(StoppedError, match="stopped after" if at_least else f"stopped after step {step} of"):
        pretrain(config, run, tokens=tokens)
    return said


def until(holds, seconds=30):
    """Wait for another thread or process, which gives no event."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
