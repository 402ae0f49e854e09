"""Training on several sources by weights: what is read and measured of each, and exact resume."""

import signal
from pydoc_data.topics import topics

import numpy as np
import pytest

from tasks.config import ValidateConfig
from tasks.data.token_files import load_tokens
from tasks.models.architectures import HuggingFaceCausal
from tasks.models.loading import load_causal
from tasks.pretrain.loop import train
from tasks.pretrain.losses import token_losses
from tasks.sweep.outputs import RowValues
from tasks.sweep.validating import validate
from tests.pretrain.training import (
    Stopped,
    changed,
    curve,
    history_in,
    same_outputs,
    stopping_after,
    tokens_of_sources,
    trained,
)
from tests.runs import stage_run_in, summary_of
from tests.together import Together

# Of nine steps the rate falls in the last three, in which the two sources change places.
MIXED = {"schedule": "wsd", "decay": 1 / 3, "mixture": {"prose.jsonl": 3, "counts.jsonl": 1}}
MIXED |= {"decay_mixture": {"counts.jsonl": 3, "prose.jsonl": 1}}
MASKED = {"objective": "masked", "architecture": "bert", "sample_prompt": "", "document_mask": True}
KINDS = {
    "causal": MIXED,
    "apart": MIXED | {"document_mask": True},
    "masked": MIXED | MASKED,
}
PROSE = [line for line in topics["assignment"].splitlines() if line.strip()][:60]
COUNTS = [" ".join(map(str, range(first, first + 12))) for first in range(40)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The tokens of two, which a masked model may be trained on too."""
    texts = {"prose.jsonl": PROSE, "counts.jsonl": COUNTS}
    return tokens_of_sources(texts, tmp_path_factory.mktemp("sources"), mask_token=True)


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory):
    """A training of each kind that nothing stopped."""
    return {
        kind: trained(changed(**fields), sources, tmp_path_factory.mktemp(kind))
        for kind, fields in KINDS.items()
    }


@pytest.fixture
def together(forked):
    """A function that trains in two processes, and returns the run and their exit statuses."""
    running = Together(forked)

    def run(config, tokens, folder, last_step=None):
        return running(train, config, {"tokens": tokens}, folder, last_step)

    yield run
    running.end()


# What is read, and what is measured


def test_summary_tells_what_was_read_of_each_source(whole, sources):
    counts, prose = summary_of(whole["causal"])["sources"]
    assert (counts["source"], prose["source"]) == ("counts.jsonl", "prose.jsonl")
    assert (prose["share"], prose["decay_share"]) == (0.75, 0.25)
    assert (counts["share"], counts["decay_share"]) == (0.25, 0.75)
    assert prose["tokens_read"] + counts["tokens_read"] == 9 * 4 * 16
    assert prose["tokens_read"] == (6 * 3 + 3 * 1) * 16
    split = load_tokens(sources).sources("train")["prose.jsonl"]
    assert (prose["tokens"], prose["documents"]) == (len(split), len(split.ends))
    assert prose["epochs"] == pytest.approx(21 * 16 / len(split), rel=0.1)


@pytest.mark.parametrize("kind", ["causal", "apart"])
def test_loss_of_a_source_is_that_on_its_text_alone(whole, sources, kind):
    config, files, summary = changed(**KINDS[kind]), load_tokens(sources), summary_of(whole[kind])
    model = HuggingFaceCausal(load_causal(whole[kind].out / "model"))
    losses, begin = token_losses(model, files, config.context, config.document_mask), 0
    for own in summary["sources"]:
        size = len(files.sources("validation")[own["source"]])
        assert np.isnan(losses[begin]), "nothing predicts the first token of a source"
        assert own["validation_loss"] == pytest.approx(np.nanmean(losses[begin : begin + size]), rel=1e-5)
        begin += size
    assert summary["best_validation_loss"] == pytest.approx(np.nanmean(losses), rel=1e-5)
    size = files.predicted_bytes(config.document_mask)
    bits = np.nansum(losses) / np.log(2) / size
    assert summary["best_bits_per_byte"] == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("kind", ["causal", "apart"])
def test_validate_stage_measures_what_the_training_did(whole, sources, kind, tmp_path):
    """The bytes of first tokens, one a source, are not predicted."""
    run = stage_run_in(tmp_path / "run")
    config = ValidateConfig(pretrain=changed(**KINDS[kind]))
    validate(config, run, model=whole[kind].out, tokens=sources)
    found = RowValues.read(run.out).validation
    expected = summary_of(whole[kind])["best_bits_per_byte"]
    assert sum(found["sums"]) / sum(found["counts"]) == pytest.approx(expected, rel=1e-5)


def test_every_evaluation_measures_each_source(whole):
    for run in whole.values():
        entries = history_in(run, "validation_loss")
        assert len(entries) == 5
        for entry in entries:
            own = [entry[f"validation_loss/{name}"] for name in MIXED["mixture"]]
            assert min(own) <= entry["validation_loss"] <= max(own)


def test_the_preflight_warns_of_a_source_that_is_read_often(sources, tmp_path):
    said = []
    config = changed(**KINDS["causal"] | {"steps": 200, "eval_every": 200})
    with pytest.raises(Stopped):
        trained(config, sources, tmp_path, say=said.append, progress=stopping_after(1))
    (warning,) = said
    assert warning.startswith("mixture of sources (counts.jsonl): counts.jsonl 41.8% of the tokens, its 882 ")
    assert "prose.jsonl 58.2% of the tokens, its 1,981 read 3.80 times" in warning
    assert "no source is read more than 4 times (Muennighoff et al. 2023)" in warning


# Exact resume (pitfall 18)


@pytest.mark.parametrize(
    ("kind", "step"),
    [("causal", 4), ("causal", 6), ("apart", 7), ("masked", 6)]
    + [pytest.param(kind, step, marks=pytest.mark.slow) for kind, step in (("apart", 6), ("masked", 7))],
)
def test_a_mixed_training_is_continued_to_the_same_bits(whole, sources, tmp_path, kind, step):
    """It dies behind a step: before the second mixture, at its border, and within it."""
    config = changed(**KINDS[kind], checkpoint_every=0)
    with pytest.raises(Stopped):
        trained(config, sources, tmp_path, progress=stopping_after(step))
    said = []
    run = trained(config, sources, tmp_path, say=said.append)
    assert said[-1] == f"resumes at step {step - 1} of 9"
    assert same_outputs(run, whole[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["apart", "masked"])
def test_two_processes_read_the_mixture_of_one(sources, tmp_path, together, kind):
    fields = KINDS[kind] | {"dropout": 0, "learning_rate": 1e-3, "batch_size": 3, "accumulation": 1}
    one = trained(changed(**fields), sources, tmp_path / "one")
    several, statuses = together(changed(**fields, processes=2), sources, tmp_path / "several")
    assert statuses == [0, 0]
    for name in ("train_loss", "validation_loss", *(f"validation_loss/{name}" for name in MIXED["mixture"])):
        assert curve(several, name) == pytest.approx(curve(one, name), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("last_step", [5, 8])
def test_two_killed_processes_continue_a_mixture(sources, tmp_path, together, last_step):
    """To the same bits, across the border of the second mixture and within it."""
    config = changed(**KINDS["apart"], processes=2)
    whole, _ = together(config, sources, tmp_path / "whole")
    _, killed = together(config, sources, tmp_path / "killed", last_step=last_step)
    assert killed == [-signal.SIGKILL] * 2
    again, statuses = together(config, sources, tmp_path / "killed")
    assert statuses == [0, 0]
    assert same_outputs(again, whole)
