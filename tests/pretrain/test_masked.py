"""Pretraining a masked language model: exact resume, what is measured, and what comes out."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from tasks.data.token_files import load_tokens
from tasks.models.loading import load_tokenizer
from tasks.pretrain.loop import Trainer
from tasks.pretrain.masked import MaskedObjective
from tests.pretrain.training import (
    Stopped,
    changed,
    curve,
    history_in,
    same_outputs,
    stopping_after,
    tokens_of,
    trained,
)
from tests.runs import stage_run_in, summary_of

MASKED = {"objective": "masked", "architecture": "bert", "sample_prompt": ""}
KINDS = {
    "apart": {"document_mask": True},
    "joined, whole words, muon": {"masking": "words", "optimizer": "muon"},
}


def masked(**fields):
    return changed(**MASKED | fields)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """Documents of a few words, of which most can be told from the others."""
    texts = [f"the {who} {does} in garden {number}" for number in range(30) for who, does in PAIRS]
    return tokens_of(texts, tmp_path_factory.mktemp("sentences"), mask_token=True)


PAIRS = (("cat", "mews"), ("dog", "barks"), ("cow", "moos"))


@pytest.fixture(scope="module")
def learned(sentences, tmp_path_factory):
    config = masked(
        size="1x2x32",
        dropout=0,
        steps=120,
        batch_size=16,
        accumulation=1,
        eval_every=120,
        document_mask=True,
        optimizer="muon",
    )
    return trained(config, sentences, tmp_path_factory.mktemp("learned"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_masked_training_ends_with_the_same_bits(sentences, tmp_path, kind):
    """Dropout is on; masks are drawn anew for each step, and are those that it would have had."""
    config = masked(**KINDS[kind])
    whole = trained(config, sentences, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(config, sentences, tmp_path / "stopped", progress=stopping_after(5))
    assert same_outputs(trained(config, sentences, tmp_path / "stopped"), whole)


def test_what_can_be_told_from_both_sides_is_learned(learned):
    assert curve(learned)[-1] < curve(learned)[0] - 2
    assert summary_of(learned)["best_masked_accuracy"] > 0.4


def test_nothing_that_is_measured_is_called_a_perplexity(learned):
    (evaluation,) = history_in(learned, "validation_loss")
    assert evaluation.keys() == {
        "step",
        "tokens",
        "validation_loss",
        "masked_accuracy",
        "pseudo_perplexity",
    }
    summary = summary_of(learned)
    assert summary["objective"] == "masked"
    assert not {"best_perplexity", "best_bits_per_byte"} & summary.keys()
    assert summary["best_pseudo_perplexity"] == evaluation["pseudo_perplexity"]


def test_a_sample_tells_the_masked_words_and_their_fillings(learned):
    _, text, *fillings = (learned.auxiliary / "samples.txt").read_text().splitlines()
    assert "[1]" in text
    assert len(fillings) == text.count("[")
    assert all(f"[{number}] " in line and line.count("%") == 3 for number, line in enumerate(fillings, 1))


def test_whoever_loads_it_fills_masks(learned):
    folder = learned.out / "model"
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    assert len(fill(f"the cat{tokenizer.mask_token} in garden 3")) == 5


def test_pseudo_perplexity_masks_each_token_in_turn(sentences):
    files, tokenizer = load_tokens(sentences), load_tokenizer(sentences / "tokenizer")
    objective = MaskedObjective(masked(document_mask=True), tokenizer)
    mask = files.special["mask"]
    for batch in objective.pseudo_batches(files):
        assert ((batch.inputs == mask).sum(dim=1) == 1).all()
        assert torch.equal(batch.inputs == mask, batch.labels >= 0)


def test_pseudo_perplexity_is_that_of_its_definition(sentences, tmp_path):
    """Salazar et al. 2020, equation 4, token by token."""
    trainer = Trainer(masked(document_mask=True, dropout=0), stage_run_in(tmp_path), sentences)
    trainer.prepare()
    losses, files = [], trainer.files
    seen = set()
    for batch in trainer.objective.pseudo_batches(files):
        for ids, labels, documents in zip(batch.inputs, batch.labels, batch.documents, strict=True):
            real = ids[documents >= 0][None]
            (place,) = (labels >= 0).nonzero()[0].tolist()
            with torch.no_grad():
                logits = trainer.plain.eval()(real)[0, place]
            losses.append(-logits.log_softmax(dim=0)[labels[place]].item())
            whole = real[0].clone()
            whole[place] = labels[place]
            seen.add(tuple(whole.tolist()))
    assert 1 < len(seen) <= 16
    expected = torch.tensor(losses).mean().exp().item()
    assert trainer.objective.measure(trainer)["pseudo_perplexity"] == pytest.approx(expected, rel=1e-4)


def test_evaluations_of_the_same_weights_are_the_same(sentences, tmp_path):
    trainer = Trainer(masked(masking="words"), stage_run_in(tmp_path), sentences)
    trainer.prepare()
    assert trainer.objective.measure(trainer) == trainer.objective.measure(trainer)


def test_tokens_of_a_step_are_counted_without_padding(sentences, tmp_path):
    trainer = Trainer(masked(document_mask=True), stage_run_in(tmp_path), sentences)
    batches = trainer.blocks
    whole = [batches.batch(4) for _ in range(len(batches._texts[0]) // 4)]
    real = sum(
        (b.documents >= 0).sum().item() if b.documents is not None else b.inputs.numel() for b in whole
    )
    assert trainer.tokens_per_step == pytest.approx(real / len(whole), abs=1)
