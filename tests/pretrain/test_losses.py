"""Pretrained models compared by their losses on the same text."""

import math
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from tasks.config import LossesConfig, PretrainedConfig
from tasks.data.token_files import Split, load_tokens
from tasks.errors import StageError
from tasks.machine.json_files import read_json
from tasks.models.architectures import HuggingFaceCausal
from tasks.models.loading import load_causal
from tasks.pretrain.losses import losses, parts_of, token_losses
from tasks.pretrain.losses_document import covers, document
from tasks.pretrain.outputs import LossComparison
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tests.pretrain.training import SMALL, changed, tokens_of, trained
from tests.runs import stage_run_in

DOCUMENTS = [f"Document {number} is a {'rather ' * (number % 4)}short one." for number in range(400)]
GPT = {"dropout": 0.0, "steps": 4}
LLAMA = GPT | {"architecture": "llama"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tokens_of(DOCUMENTS, tmp_path_factory.mktemp("corpus"), validation=0.2)


@pytest.fixture(scope="module")
def models(corpus, tmp_path_factory):
    """Folders of two seeds of each architecture."""
    made = {}
    for name, own in (("gpt", GPT), ("llama", LLAMA)):
        for seed in (1, 2):
            config = changed(**own, seed=seed)
            made[name, seed] = trained(config, corpus, tmp_path_factory.mktemp(f"{name}{seed}")).out
    return made


def side(seeds=(1,), **changes):
    recipe = {"seeds": seeds, "context": SMALL.context, "sequences": 4, "document_mask": False}
    return PretrainedConfig(**recipe | changes)


def compared(folder, corpus, a, b, config_a=None, config_b=None):
    run = stage_run_in(folder)
    made = {f"{name}_{place}": own for name, of in (("a", a), ("b", b)) for place, own in enumerate(of, 1)}
    sides = {"a": config_a or side(range(1, len(a) + 1)), "b": config_b or side(range(1, len(b) + 1))}
    losses(LossesConfig(**sides, device="cpu"), run, tokens=corpus, **made)
    return LossComparison.read(run.out), run


def test_each_token_has_the_loss_that_training_evaluates(models, corpus):
    files = load_tokens(corpus)
    model = HuggingFaceCausal(load_causal(models["gpt", 1] / "model"))
    found = token_losses(model, files, SMALL.context, apart=False)
    assert np.isnan(found[0])
    assert not np.isnan(found[1:]).any()
    summary = read_json(models["gpt", 1] / "summary.json")
    assert np.nanmean(found) == pytest.approx(summary["best_validation_loss"], rel=1e-4)


def test_with_a_document_mask_no_first_token_is_predicted(models, corpus):
    files = load_tokens(corpus)
    model = HuggingFaceCausal(load_causal(models["llama", 1] / "model"))
    found = token_losses(model, files, SMALL.context, apart=True)
    firsts = np.concatenate([[0], files.validation.ends[:-1]]).astype(int)
    assert np.isnan(found[firsts]).all()
    assert np.isnan(found).sum() == len(firsts)
    ends, context = files.validation.ends.astype(int), SMALL.context
    start, end = next(
        (first, end)
        for first, end in zip(firsts, ends, strict=True)
        if first // context == (end - 1) // context
    )
    ids = torch.from_numpy(files.validation.tokens[start:end].astype(np.int64))[None]
    expected = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none").detach().numpy()
    assert found[start + 1 : end] == pytest.approx(expected, rel=1e-4)


def test_two_architectures_are_compared_over_paired_seeds(models, corpus, tmp_path):
    a, b = ([models[name, seed] for seed in (1, 2)] for name in ("llama", "gpt"))
    found, run = compared(tmp_path, corpus, a, b)
    files = load_tokens(corpus)
    assert found.tokens == len(files.validation) - 1
    assert (found.part, found.parts, found.paired_seeds) == ("documents", len(files.validation.ends), True)
    assert found.difference["difference"] == pytest.approx(
        found.b["bits_per_byte"] - found.a["bits_per_byte"]
    )
    per_byte = read_json(a[0] / "summary.json")["best_bits_per_byte"]
    assert found.a["by_seed"][0] * found.tokens / math.log(2) / found.bytes == pytest.approx(
        per_byte, rel=1e-3
    )
    assert np.mean(found.difference["by_seed"]) == pytest.approx(found.difference["difference"])
    assert [found.a["family"], found.b["family"]] == ["llama", "gpt2"]
    assert (run.auxiliary / "losses.html").exists()


def test_a_model_compared_with_itself_shows_nothing(models, corpus, tmp_path):
    found, _ = compared(tmp_path, corpus, [models["gpt", 1]], [models["gpt", 1]])
    assert found.difference["difference"] == 0
    assert found.difference["p"] == 1.0
    assert document(found.as_json()).verdict.tone == "open"


@pytest.mark.parametrize("masked", ["a", "b"])
def test_contexts_and_masks_may_differ(models, corpus, tmp_path, masked):
    sides = {f"config_{masked}": side(context=4, document_mask=True)}
    found, _ = compared(tmp_path, corpus, [models["gpt", 1]], [models["gpt", 2]], **sides)
    assert found.paired_seeds is False
    files = load_tokens(corpus)
    assert found.tokens == len(files.validation) - len(files.validation.ends)  # those that both predict
    assert found.bytes < read_json(corpus / "tokens.json")["validation"]["bytes"]


@pytest.mark.parametrize("width", [60, 120])
def test_comparison_reads_as_page_markdown_and_terminal(models, corpus, tmp_path, width):
    a, b = ([models[name, seed] for seed in (1, 2)] for name in ("llama", "gpt"))
    found, _ = compared(tmp_path, corpus, a, b)
    timed = {"seconds": 61.0, "tokens_per_second": 5000.0, "device": "cpu", "threads": 1}
    times = {name: timed | {"precision": "float32"} for name in ("a_1", "a_2", "b_1", "b_2")}
    report = found.as_json() | {"name_a": "llama", "name_b": "gpt", "times": times}
    out = StringIO()
    show(document(report), Console(file=out, width=width))
    for told in (as_html(document(report)), as_markdown(document(report)), out.getvalue()):
        flat = " ".join(told.split())
        assert "bits per byte, B minus A" in flat
        assert "5,000" in flat
        assert "1 min 01 s" in flat
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_what_the_interval_covers_is_told(models, corpus, tmp_path):
    one, _ = compared(tmp_path / "1", corpus, [models["gpt", 1]], [models["llama", 1]])
    assert covers(one.as_json()).startswith("One seed each: the interval covers the text (")
    both = [models["gpt", 1], models["gpt", 2]]
    more, _ = compared(tmp_path / "2", corpus, both, [models["llama", 1]])
    assert covers(more.as_json()).endswith("and the training of the other, not that of B.")
    assert more.difference["low"] < more.difference["text_low"]


def test_text_of_few_documents_is_cut_into_stretches():
    numbers, part = parts_of(Split(np.zeros(1000, np.uint16), np.array([1000], "<u8")), context=64)
    assert (part, len(np.unique(numbers))) == ("stretches", 15)
    assert np.bincount(numbers).min() >= 64
    long, _ = parts_of(Split(np.zeros(10**5, np.uint16), np.array([10**5], "<u8")), context=64)
    assert len(np.unique(long)) == 100


def test_text_that_is_too_short_is_refused(models, tmp_path):
    corpus = tokens_of("A word and another one, and so on.", tmp_path / "short", validation=0.0)
    with pytest.raises(StageError, match="too short to compare"):
        compared(tmp_path / "run", corpus, [models["gpt", 1]], [models["gpt", 2]])
