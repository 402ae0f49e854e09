"""What is read of a benchmark before there is a model: questions of one's own, and lm-eval's data."""

import pytest

from tasks.benchmark.outputs import Suite, read_questions
from tasks.benchmark.suite import suite
from tasks.config import BenchmarkConfig, SuiteConfig
from tasks.errors import StageError
from tests.benchmark.asking import HUB, QUIZ, VERSION, write_rows

PASSAGES = [
    {"context": "Cold is the opposite of hot.", "prompt": "What is?", "choices": ["a", "b"], "answer": "B"},
    {"context": "France has a capital.", "prompt": "Which?", "choices": ["a", "b"], "answer": 0},
    {"context": "Cold is the opposite of hot.", "prompt": "Why?", "choices": ["a", "b"], "answer": "a"},
]


PLAIN = SuiteConfig()


@pytest.fixture
def read(tmp_path, stage_run):
    def read(files, config=PLAIN, hub=()):
        for name, rows in files.items():
            write_rows(tmp_path / "questions" / name, rows)
        for name, rows in dict(hub).items():
            write_rows(tmp_path / "data" / f"{name}.jsonl", rows)
        run = stage_run(fingerprints=VERSION)
        given = {"data": tmp_path / "data"} if hub else {}
        given |= {"questions": tmp_path / "questions"} if files else {}
        suite(config, run, **given)
        return run.out

    return read


def test_each_source_of_questions_is_a_task(read):
    out = read({"quiz.jsonl": QUIZ, "more/a.jsonl": PASSAGES[:2], "more/b.jsonl": PASSAGES[2:]})
    found = Suite.read(out)
    assert [(task["name"], task["rows"]) for task in found.tasks] == [("more", 3), ("quiz", 9)]
    assert found.lm_eval == VERSION["lm_eval"]
    assert read_questions(out, "quiz")[1] == {
        "id": 1,
        "prompt": QUIZ[1]["question"],
        "choices": QUIZ[1]["choices"],
        "answer": 1,
    }


def test_rows_of_one_passage_are_of_one_source(read):
    rows = read_questions(read({"reading.jsonl": PASSAGES}), "reading")
    assert [row.get("source") for row in rows] == ["row 0", None, "row 0"]
    assert [row["answer"] for row in rows] == [1, 0, 0]


def test_columns_of_questions_are_named(read):
    rows = [{"ask": "Which?", "of": ["a", "b"], "solution": "b"}]
    columns = {"prompt": "ask", "choices": "of", "label": "solution"}
    out = read({"quiz.jsonl": rows}, SuiteConfig(columns=columns))
    assert read_questions(out, "quiz")[0]["answer"] == 1
    with pytest.raises(StageError, match=r"rows.columns is benchmark.columns"):
        read({"quiz.jsonl": rows})


def test_malformed_question_is_refused_with_its_place(read):
    rows = [*QUIZ[:2], QUIZ[2] | {"answer": 7}]
    with pytest.raises(StageError, match=r"quiz.jsonl.*3.*names none of the 3 choices.*Fix the row"):
        read({"quiz.jsonl": rows})


def test_examples_need_other_rows(read):
    with pytest.raises(StageError, match=r"quiz has 9 rows, and 9 answered examples"):
        read({"quiz.jsonl": QUIZ}, SuiteConfig(shots=9))


def test_tasks_of_one_name_are_refused(read):
    config = SuiteConfig(tasks=("arc_easy",))
    with pytest.raises(StageError, match="two tasks are called arc_easy"):
        read({"arc_easy.jsonl": QUIZ}, config, {"arc_easy/test": HUB["arc_easy/test"]})


def test_tasks_of_lm_eval_are_tried_on_their_data(read):
    config = SuiteConfig(tasks=("arc_easy", "winogrande", "lambada_openai"))
    (first, *_) = Suite.read(read({}, config, HUB)).tasks
    assert first == {
        "name": "arc_easy",
        "rows": 6,
        "shots": 0,
        "dataset": "allenai/ai2_arc",
        "subset": "ARC-Easy",
        "split": "test",
    }


def test_data_that_are_not_the_tasks_are_told(read):
    config = SuiteConfig(tasks=("arc_easy",))
    with pytest.raises(
        StageError, match=r"the task arc_easy of lm-eval cannot be asked of its data: .*commit"
    ):
        read({}, config, {"arc_easy/test": [{"something": "else"}]})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "there is nothing to ask"),
        ({"tasks": ["arc_easy"], "columns": {"prompt": "a"}}, "there are no questions whose columns"),
        ({"tasks": ["piqa", "piqa"]}, "names piqa twice"),
        ({"tasks": ["piqa"], "shots": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_ask_nothing_or_twice_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        BenchmarkConfig.model_validate(settings)
