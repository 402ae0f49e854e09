"""The card of a model that was trained by rewards: its curves, what they came to, and what to look at."""

import pytest

from tasks.report.verdict import verdict
from tests.card_outputs import Card, Page


@pytest.fixture
def card(outputs, tmp_path):
    return Card(outputs, tmp_path, folders=outputs.with_rewards())


def test_every_form_says_what_the_rewards_came_to(card):
    page = Page(card.html.partition("</style>")[2]).text
    unescaped = card.markdown.replace("\\", "")
    for name, text in {"html": page, "markdown": unescaped, "terminal": card.terminal(200)}.items():
        text = " ".join(text.split())
        for part in (
            "GRPO on exact + 0.1 length; groups of 8 at temperature 0.5; beta 0.04",
            "greedy responses to 5 validation prompts: 0.200 before, 0.600 at step 2, which was kept",
            "25.0% of responses cut",
            "The reward rose while chrf fell",
        ):
            assert part in text, (name, part)


def test_curves_are_of_rewards_and_of_no_loss(card):
    found = {
        curve["quantity"]: [line["name"] for line in curve["lines"]]
        for curve in card.report["curves"]
        if curve["training"] == "reinforcement"
    }
    both = ["train", "validation"]
    assert found == {
        "reward": both,
        "reward exact": both,
        "reward length": ["train"],
        "KL divergence": ["train"],
        "entropy": ["train"],
        "share cut": ["train"],
        "chrf beside": ["validation"],
    }


def test_verdict_tells_the_last_step_against_the_model_before(card):
    assert verdict(card.report).more.startswith("Reinforced minus preferred: \u221225.0")


def test_number_of_prompts_stands_in_the_head(card):
    assert "Reinforced on" in card.html
    assert "15 prompts" in card.html
