"""People's labels on the card: the mean as scored and corrected, the agreement, and what more would do."""

import pytest

from tasks.report.verdict import verdict
from tasks.show.markdown import as_markdown
from tests.card_outputs import HOSTILE, METRIC, Card, Outputs, shown

ROWS = 24


@pytest.fixture
def outputs(tmp_path):
    """24 rows, of which the fine-tuned model's scores are higher."""
    own = Outputs(tmp_path / "stages")
    own.rows = [{"id": row, "instruction": f"Say {row}.", "input": "", "output": "hi"} for row in range(ROWS)]
    own.responses = {"base": ["x"] * ROWS, "tuned": ["y"] * ROWS}
    own.scores = {
        "base": {METRIC: [20.0 * (row % 3) for row in range(ROWS)]},
        "tuned": {METRIC: [40.0 + 20.0 * (row % 4) for row in range(ROWS)]},
    }
    return own


def labels_of(given, people=("ann",), seed=1):
    return {
        "of": "d" * 64,
        "design": {"seed": seed, "scorer": METRIC, "rows": ROWS},
        "labels": [
            {
                "id": row,
                "chance": len(given) / ROWS,
                "given": [{"by": by, "label": label, "at": "2030-01-01T00:00:00Z"} for by in people],
            }
            for row, label in given.items()
        ],
        "unreadable": [],
    }


@pytest.fixture
def labelled(outputs, tmp_path):
    """A card with these labels of the models."""

    def make(**labels):
        folders = outputs.write()
        for name, found in labels.items():
            outputs.json(f"{name}_labels/labels.json", found)
        return Card(
            outputs, tmp_path, folders=folders | outputs.named(*(f"{name}_labels" for name in labels))
        )

    return make


def test_every_form_shows_the_mean_scored_and_corrected(labelled):
    card = labelled(tuned=labels_of({row: 2 + row % 4 if row % 2 else 1 for row in range(20)}))
    (entry,) = card.report["labels"]["means"]
    assert (entry["model"], entry["labelled"], entry["rows"]) == ("fine-tuned", 20, 24)
    interval = f"{entry['low']:.1f} to {entry['high']:.1f}"
    for name, text in shown(card).items():
        assert "People's labels" in text, name
        assert f"{entry['mean']:.1f} as scored; {entry['estimate']:.1f} corrected by people's labels" in text
        assert f"(95% {interval}; 20 of 24 rows labelled, the scores weigh {entry['weight']:.2f})" in text
        assert "Scores against people over 20 rows: rank correlation" in text, name
        assert "Labelled by ann (20 rows)" in text, name
        assert "half as wide" in text, name
        assert "0 rows are labelled for both; a correction needs 10" in text, name


def test_a_card_without_labels_says_nothing_of_them(labelled):
    card = labelled()
    assert "labels" not in card.report
    for name, text in shown(card).items():
        assert "People's" not in text, name


def test_a_corrected_difference_stands_with_the_verdict(labelled):
    best = labels_of(dict.fromkeys(range(ROWS), 5))
    worst = labels_of(dict.fromkeys(range(ROWS), 0))
    card = labelled(tuned=best, base=worst)
    found = verdict(card.report)
    assert found.tone == "better"
    assert (
        "By people's labels: +100.0 points corrected by 24 rows that people labelled for both" in found.more
    )
    assert found.warning == ""


def test_people_who_see_no_difference_are_shown_beside_scores(labelled):
    same = labels_of({row: row % 6 for row in range(ROWS)})
    card = labelled(tuned=same, base=same)
    found = verdict(card.report)
    assert found.tone == "better"
    assert "no difference can be shown" in found.warning
    assert found.warning.endswith("Its scores alone say otherwise.")
    for name, text in shown(card).items():
        assert found.warning in text, name


def test_too_few_labels_are_shown_as_such(labelled):
    card = labelled(tuned=labels_of({0: 5, 1: 4}))
    for name, text in shown(card).items():
        assert "not corrected: 2 of 24 rows labelled, and a correction needs 10" in text, name


def test_labels_of_several_people_are_told_apart(labelled):
    card = labelled(tuned=labels_of({row: row % 6 for row in range(20)}, people=("ann", "bob")))
    for name, text in shown(card).items():
        told = "Labelled by ann (20 rows) and bob (20 rows); over the 20 rows that several labelled"
        assert told in text, name
        assert "Krippendorff's alpha 1.00, 0.0 grades apart" in text, name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_persons_name_cannot_act(labelled, name):
    card = labelled(tuned=labels_of({row: row % 6 for row in range(20)}, people=(name,)))
    assert "<script>alert" not in card.html
    assert "<img" not in card.html
    assert "\x1b[2J" not in card.terminal()
    assert as_markdown(card.document).count("\n## ") == shown(card)["markdown"].count(" ## ")
