"""The report card shows what was decided on a model, by which numbers and why, in every form."""

import pytest

from tasks.registry.promote.promotion_wording import decision_rows, in_short
from tests.card_outputs import Card, Outputs, Page

REASON = (
    "kept as candidate: training went on against failed proofs (fine-tuning, end token); by its scores: "
    "-1.5 points against version 1 (95% -3.0 to +0.2), which is not above the margin of 2"
)
DECIDED = {
    "champion": False,
    "reason": REASON,
    "scorer": "ollama:llama3.2",
    "mean": 38.5,
    "min_score": 10.0,
    "margin": 2.0,
    "preflight": "failed: fine-tuning, end token",
    "audit": "warned: ollama:llama3.2",
    "against": "version 1",
    "difference": -1.5,
    "low": -3.0,
    "high": 0.2,
}


@pytest.fixture
def card(tmp_path):
    outputs = Outputs(tmp_path / "stages")
    outputs.promotion |= DECIDED
    return Card(outputs, tmp_path)


def test_every_form_shows_the_decision_its_numbers_and_its_reason(card):
    page = Page(card.html.partition("</style>")[2]).text
    forms = {"html": page, "markdown": card.markdown.replace("\\", ""), "terminal": card.terminal(200)}
    for name, text in forms.items():
        flat = " ".join(text.split())
        assert "Candidate" in flat, name
        for part in (REASON, "38.5 of 100 by ollama:llama3.2", DECIDED["preflight"], DECIDED["audit"]):
            assert part in flat, (name, part)
        if name != "terminal":  # where the reason tells of these
            for part in ("version 1, the champion then", "−1.5 points on the same rows", "−3.0 to +0.2"):
                assert part in flat, (name, part)
            assert "the interval must lie above 2" in flat


def test_a_first_model_is_told_what_it_needed():
    first = DECIDED | {"against": None, "difference": None, "low": None, "high": None}
    assert ("Compared with", "no champion: a first one needs 10") in decision_rows(first)
    assert in_short(first) == "mean 38.5 of 100"
    assert ("Score", "none by ollama:llama3.2") in decision_rows(first | {"mean": None})


def test_a_promotion_of_an_earlier_version_shows_what_it_knew():
    """Its card holds a reason, and no more than a difference."""
    old = {"champion": True, "reason": "the first champion", "against": None, "difference": None}
    assert (decision_rows(old), in_short(old)) == ([], "the first champion")
