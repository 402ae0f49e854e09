"""The cards on answers and choices say what was measured, and what is right is decided as it was measured."""

import io

import pytest
from rich.console import Console

from tasks.classify.choice_card import CARD as CHOICE
from tasks.classify.choices import TASK as CHOOSING
from tasks.classify.question_card import CARD
from tasks.classify.questions import TASK
from tasks.report.use import section
from tasks.show.document import Document
from tasks.show.terminal import show

DIFFERENCE = {"difference": {"difference": 5.0, "low": 1.0, "high": 9.0}, "p_value": 0.01}
TRUTH, GIVEN = [["Anna Berg"], ["1204"], []], ["the anna berg", "in 1204", "Boris"]


def report(task, truth, given, examples):
    numbers = {"loss": 0.5} | task.measured(truth, given, (), ())
    baseline = {"name": "majority", "description": "always one", **numbers, **DIFFERENCE}
    evaluation = {"task": task.name, "measure": task.card.measure, "labels": [], "splits": {"test": numbers}}
    return {
        "evaluation": evaluation | {"baselines": [baseline]},
        "examples": {"of": len(truth), "wrong": len(examples), "rows": examples},
        "model": {},
        "promotion": {"name": "asked", "version": 1},
    }


def example(place):
    return {
        "id": place,
        "context": "Anna Berg founded Arlen in 1204.",
        "question": "Who?",
        "answers": TRUTH[place],
        "predicted": GIVEN[place],
        "probability": 0.75,
        "baselines": {"majority": ""},
    }


def text_of(card, found, width=120):
    console = Console(file=io.StringIO(), width=width)
    show(Document("report", "asked", list(card.sections(found, []))), console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 120])
def test_the_card_shows_exact_match_and_missing_answers(width):
    text = " ".join(text_of(CARD, report(TASK, TRUTH, GIVEN, [example(1), example(2)]), width).split())
    for part in ("F1 on the test split", "Exact match", "33.3%", "without an answer", "no answer"):
        assert part in text
    assert CARD.is_right(example(0))
    assert not CARD.is_right(example(1))


def test_a_model_that_answers_nothing_is_an_alarm():
    found = report(TASK, [["Anna"], []], ["", ""], [])
    assert list(CARD.alarms(found["evaluation"])) == [
        "The model answers no question: it gives none to every one."
    ]
    assert not list(CARD.alarms(report(TASK, TRUTH, GIVEN, [])["evaluation"]))


def test_chance_stands_beside_the_accuracy_of_choices():
    text = text_of(CHOICE, report(CHOOSING, [["a", "b"], ["c", "d", "e", "f"]], ["a", "d"], []))
    assert "right for 37.5%" in text


def test_what_needs_more_than_a_text_is_not_offered_for_chat():
    model = {"folder": "f", "tracking": "t"}
    for task, truth, given in ((TASK, TRUTH, GIVEN), (CHOOSING, [["a", "b"]], ["a"])):
        (use,) = section(report(task, truth, given, []), {"model": model})
        console = Console(file=io.StringIO(), width=100)
        show(Document("report", "asked", [use]), console)
        assert "touchstone chat" not in console.file.getvalue()
        assert "touchstone export" in console.file.getvalue()
