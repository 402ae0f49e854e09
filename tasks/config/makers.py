"""Rows that are made without a network, declared once: what a source calls them, and what makes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Maker:
    """One set of rows."""

    entry: str
    """`module:function`, imported only when it is asked: called as `function(count, seed)`, it returns that
    many rows, the same for the same seed, and raises ValueError when there are not so many."""
    description: str


MAKERS: dict[str, Maker] = {
    "python-reference": Maker(
        "tasks.makers.python_reference:make_rows",
        "the language reference that every CPython ships, all of it",
    ),
    "entities": Maker(
        "tasks.makers.entities:make_rows",
        "sentences whose persons, places, organisations and dates are tagged",
    ),
    "questions": Maker("tasks.makers.questions:make_rows", "questions whose answers stand in made passages"),
    "quiz": Maker("tasks.makers.quiz:make_rows", "multiple-choice questions about what the skills teach"),
    "skills": Maker("tasks.makers.skills:make_rows", "instructions whose answers can be computed"),
    "summaries": Maker(
        "tasks.makers.summaries:make_rows", "short reports, whose summaries follow from what they say"
    ),
}
