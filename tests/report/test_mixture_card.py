"""The card of a pretraining on several sources: what was asked for, what was read, and the loss on each."""

import pytest

from tests.card_outputs import Outputs, pretrained, shown

SOURCES = [
    {
        "source": name,
        "documents": 12,
        "tokens": 3400,
        "share": share,
        "decay_share": 1 - share,
        "tokens_read": 5600,
        "share_read": 0.65,
        "epochs": 1.25,
        "validation_loss": loss,
    }
    for name, share, loss in (("web", 0.8, 3.25), ("<b>books</b>", 0.2, 4.5))
]


@pytest.fixture
def card(tmp_path, monkeypatch):
    outputs = Outputs(tmp_path / "stages")
    outputs.validation |= {"perplexity": 7.4, "bits_per_byte": 1.2}
    outputs.validation |= {f"validation_loss/{own['source']}": own["validation_loss"] for own in SOURCES}
    written = Outputs.json

    def with_sources(self, name, value):
        written(self, name, value | {"sources": SOURCES} if name == "base/summary.json" else value)

    monkeypatch.setattr(Outputs, "json", with_sources)
    return pretrained(outputs, tmp_path)


def test_every_form_has_the_shares_and_the_loss_of_a_source(card):
    for text in shown(card).values():
        assert "The same share of each is held out, whatever its weight." in text
        for told in ("share asked in the decay", "80.0%", "20.0%", "65.0%", "1.25", "3.250", "4.500"):
            assert told in text.lower()


def test_the_losses_on_sources_are_a_chart_of_their_own(card):
    for text in shown(card).values():
        assert "Loss by source, nats per token" in text


def test_the_name_of_a_source_does_not_act_on_the_page(card):
    assert "<b>books" not in card.html


def test_a_warning_of_the_checks_stands_first(tmp_path):
    outputs = Outputs(tmp_path / "stages")
    own = {"training": "pretraining", "where": "web", "expected": "at most 4 times"}
    checks = [
        own | {"check": "causality", "verdict": "passed", "found": "nothing moved"},
        own | {"check": "mixture of sources", "verdict": "warning", "found": "web read 6.2 times"},
    ]
    outputs.json("base/preflight.json", {"verdict": "passed", "checks": checks, "examples": {}})
    card = pretrained(outputs, tmp_path)
    for text in shown(card).values():
        assert "1 of 2 checks passed, 1 warned." in text
        assert text.index("web read 6.2 times") < text.find("nothing moved") % len(text)
