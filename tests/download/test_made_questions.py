"""Made questions: answers stand where they say, among others of their kind, on passages of their own."""

import pytest

from tasks.makers.questions import ASKED, FACTS, UNANSWERABLE, make_rows
from tasks.rows import prompt_groups, source_groups

ROWS = [{"id": place} | row for place, row in enumerate(make_rows(400, 1))]


def test_answers_stand_at_their_offsets_and_once():
    for row in ROWS:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
        assert "{" not in row["context"] + row["question"]


def test_one_question_in_eight_has_no_answer():
    assert sum(not row["answers"]["text"] for row in ROWS) == len(ROWS) // UNANSWERABLE


def test_passages_are_their_own_sources_and_no_rewordings():
    contexts = [row["context"] for row in ROWS]
    assert len(set(contexts)) == len(ROWS) // ASKED
    for groups in (prompt_groups(ROWS), source_groups(ROWS)):
        assert all(contexts[place] == contexts[group] for place, group in enumerate(groups))


def test_what_tells_an_answer_stands_before_it():
    """A model that reads from left to right could not find it else: no sentence begins with an answer."""
    for fact in FACTS:
        assert not [
            sentence
            for sentence in fact.sentences
            if sentence.startswith("{") and "{town}" not in sentence[:6]
        ]


def test_rows_are_drawn_by_the_seed():
    assert make_rows(20, 1) == make_rows(400, 1)[:20] != make_rows(20, 2)


def test_more_questions_than_there_are_towns_for_are_refused():
    with pytest.raises(ValueError, match="there are 14,784 questions on made passages; 20,000 were asked"):
        make_rows(20_000, 1)
