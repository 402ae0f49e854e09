"""The made quiz: one choice is right, each question is asked once, and none is a row of the skills."""

import pytest

from tasks.data.duplicates import Groups, join_near_duplicates
from tasks.data.rewordings import join_rewordings
from tasks.makers import skills
from tasks.makers.quiz import make_rows
from tasks.rows.choices import FORMAT
from tasks.rows.fields import Fields

COUNT = 300


@pytest.fixture(scope="module")
def rows():
    return make_rows(COUNT, 123)


def test_questions_are_made_by_the_seed_alone(rows):
    assert make_rows(COUNT, 123) == rows != make_rows(COUNT, 124)
    assert len({row["question"] for row in rows}) == COUNT


def test_question_has_one_right_choice_and_others_beside_it(rows):
    columns = {"prompt": "question", "choices": "choices", "label": "answer"}
    for row in rows:
        read = FORMAT.row(Fields("a row", row, columns))
        assert read["answer"] == row["answer"]
        assert len(set(row["choices"])) == len(row["choices"]) >= 2
    by_question = {row["question"]: row["choices"][row["answer"]] for row in make_rows(1300, 5)}
    assert by_question["Which day comes after Sunday?"] == "Monday"
    assert by_question.get("What is the opposite of wet?", "dry") == "dry"
    assert by_question.get("What is the opposite of dry?", "wet") == "wet"
    assert by_question["Which kind of thing is tiger?"] == "animal"


def test_right_choices_stand_in_all_places(rows):
    places = [row["answer"] for row in rows if row["category"] == "larger number"]
    assert 0.4 < sum(places) / len(places) < 0.6


def test_no_question_is_a_row_of_the_skills(rows):
    taught = [(row["instruction"], row["input"]) for row in skills.make_rows(400, 123)]
    answers = [row["output"] for row in skills.make_rows(400, 123)]
    prompts = [*taught, *((row["question"], "") for row in rows)]
    right = [*answers, *(row["choices"][row["answer"]] for row in rows)]
    groups = Groups(len(prompts))
    join_near_duplicates(groups, prompts)
    join_rewordings(groups, prompts, right)
    first = groups.smallest().tolist()
    assert not [prompts[place] for place in range(len(taught), len(prompts)) if first[place] < len(taught)]


def test_quiz_ends_where_it_has_no_more():
    with pytest.raises(ValueError, match="the quiz has only 1313 distinct questions; 2000 were asked for"):
        make_rows(2000, 1)
