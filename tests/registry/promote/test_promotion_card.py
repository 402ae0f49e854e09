"""The report card shows what was decided on a model, by which numbers and why, in every form."""

import pytest

from tasks.registry.promote.promotion_wording import checked_text, coverage_text, decision_rows, in_short
from tasks.show.text import capital
from tests.card_outputs import Card, Outputs, Page

REASON = (
    "kept as candidate: training went on against failed checks (fine-tuning, end token); by its scores: "
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
    "level": 0.025,
    "part": "gate",
    "part_rows": 12,
}


@pytest.fixture
def card(tmp_path):
    outputs = Outputs(tmp_path / "stages")
    outputs.promotion |= DECIDED
    return Card(outputs, tmp_path)


def test_every_form_shows_the_decision_its_numbers_and_reason(card):
    page = Page(card.html.partition("</style>")[2]).text
    forms = {"html": page, "markdown": card.markdown.replace("\\", ""), "terminal": card.terminal(200)}
    for name, text in forms.items():
        flat = " ".join(text.split())
        assert "Candidate" in flat, name
        for part in (
            capital(REASON),
            "38.5 of 100 by ollama:llama3.2",
            DECIDED["preflight"],
            DECIDED["audit"],
        ):
            assert part in flat, (name, part)
        if name != "terminal":  # where the reason tells of these
            for part in (
                "version 1, the champion then",
                "−1.5 points on the same 12 gate rows",
                "−3.0 to +0.2",
            ):
                assert part in flat, (name, part)
            assert "the interval must lie above 2" in flat


def test_a_first_model_is_told_what_it_needed():
    first = DECIDED | {"against": None, "difference": None, "low": None, "high": None}
    assert ("Compared with", "no champion: a first one needs 10") in decision_rows(first)
    assert in_short(first) == "mean 38.5 of 100"
    assert ("Score", "none by ollama:llama3.2") in decision_rows(first | {"mean": None})


SEALED = DECIDED | {
    "champion": True,
    "reason": (
        "champion: +4.0 points against version 1 (98.6% +0.3 to +7.7 on 83 sealed rows), which is above the "
        "margin of 0; the 83 sealed rows were opened 2 times, which leaves 2.41% of the error budget of 5%"
    ),
    "difference": 4.0,
    "low": 0.3,
    "high": 7.7,
    "level": 0.00677,
    "part": "sealed",
    "part_rows": 83,
    "sealed_mean": 37.25,
    "sealed_low": 33.0,
    "sealed_high": 41.5,
    "openings": 2,
    "budget_left": 0.0241,
}


def test_every_form_shows_the_sealed_score_and_the_error_budget(tmp_path):
    """Pitfall 35: the headline of a champion is over rows that did not choose it."""
    outputs = Outputs(tmp_path / "stages")
    outputs.promotion |= SEALED
    card = Card(outputs, tmp_path)
    page = Page(card.html.partition("</style>")[2]).text
    for name, text in {
        "html": page,
        "markdown": card.markdown.replace("\\", ""),
        "terminal": card.terminal(200),
    }.items():
        flat = " ".join(text.split())
        assert "37.2 of 100 by ollama:llama3.2 on the sealed rows" in flat, name
        assert "opened 2 times, which leaves 2.41% of the error budget of 5%" in flat, name
    rows = dict(decision_rows(SEALED))
    assert rows["Whole test split"] == "38.5, the gate rows included"
    assert rows["Difference"] == "+4.0 points on the same 83 sealed rows"
    assert rows["98.6% interval"] == "+0.3 to +7.7"


def test_of_a_first_champion_the_sealed_score_is_told_in_short():
    first = SEALED | {"against": None, "difference": None, "low": None, "high": None}
    assert in_short(first) == "mean 37.2 of 100 on the sealed rows"
    assert "sealed rows opened 2 times, which leaves 2.41%" in checked_text(first)
    assert "opened" not in checked_text(SEALED), "its reason says so"


@pytest.mark.parametrize(
    ("level", "covers"),
    [(0.025, "95%"), (0.01914, "96.2%"), (0.00368, "99.26%"), (0.000031, "99.9938%")],
)
def test_an_interval_is_told_with_what_it_covers(level, covers):
    assert coverage_text(level) == covers


def test_small_unsealed_test_set_has_its_openings_told():
    small = SEALED | {"part": "test", "part_rows": 30, "sealed_mean": None}
    rows = dict(decision_rows(small))
    assert rows["Test rows"].startswith("opened 2 times")
    assert rows["Score"] == "38.5 of 100 by ollama:llama3.2"


def test_card_tells_why_the_champion_was_scored_anew():
    because = "its scores came about under other conditions (rows: aaaa, was bbbb)"
    rows = dict(decision_rows(SEALED | {"anew": because, "leaked": 3}))
    assert rows["Champion scored anew"] == f"because {because}"
    assert rows["Left out"] == "3 test rows that one of the two was trained on"
    assert not {"Champion scored anew", "Left out"} & dict(decision_rows(SEALED | {"leaked": 0})).keys()


def test_a_promotion_of_an_earlier_version_shows_what_it_knew():
    """Its card holds a reason, and no more than a difference."""
    old = {"champion": True, "reason": "the first champion", "against": None, "difference": None}
    assert (decision_rows(old), in_short(old)) == ([], "the first champion")
