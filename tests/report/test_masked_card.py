"""The card of a masked language model: nothing on it is called the perplexity of a text."""

import pytest

from tasks.report.training import settings_text
from tests.card_outputs import Outputs, pretrained, shown

SAMPLE = "the [1] sat\n[1] stands for ' cat'; filled with ' dog' 41%, ' cat' 30%, ' cow' 2%"
MEASURED = {"masked_accuracy": 0.41, "pseudo_perplexity": 12.34}


@pytest.fixture
def outputs(tmp_path):
    """Of a masked pretraining: its summary and its history have other names than those of a causal one."""
    outputs = Outputs(tmp_path / "stages")
    outputs.validation |= MEASURED
    return outputs


@pytest.fixture
def card(outputs, tmp_path, monkeypatch):
    own = {"parameters": 100, "optimizer": "adamw", "steps": 2, "tokens": 128, "stopped_early": False}
    own |= {"train_loss": 1.5, "best_step": 2, "best_validation_loss": 2.0, "objective": "masked"}
    own |= {f"best_{name}": value for name, value in MEASURED.items()}
    written = Outputs.json
    monkeypatch.setattr(
        Outputs,
        "json",
        lambda self, name, value: written(self, name, own if name == "base/summary.json" else value),
    )
    return pretrained(outputs, tmp_path, texts=[SAMPLE])


def test_it_names_what_was_measured(card):
    for text in shown(card).values():
        assert "nats per masked token, at step 2 of 2" in text
        assert "41.0% of the masked tokens right, pseudo-perplexity 12.3" in text
        assert "its masked tokens numbered" in text


def test_no_perplexity_and_no_decoding_is_spoken_of(card):
    for text in shown(card).values():
        plain = text.lower().replace("pseudo-perplexity", "")
        assert "perplexity" not in plain
        assert "bits per byte" not in plain
        assert "greedy" not in plain


def test_the_settings_that_mask_are_told():
    settings = {"objective": "masked", "mask_rate": 0.15, "masking": "words", "batch_size": 4}
    assert settings_text(settings) == "15% masked, by words, batch 4"
    assert settings_text(settings | {"objective": "causal"}) == "batch 4"


def test_accuracy_of_the_masked_has_a_curve(card):
    assert "Masked accuracy" in shown(card)["html"]


def test_head_shows_the_share_of_masked_tokens_that_are_right(card):
    fact = next(fact for fact in card.document.facts if fact.title == "Masked tokens right")
    assert (fact.value, fact.note) == ("41.0%", "pseudo-perplexity 12.3, at step 2")
