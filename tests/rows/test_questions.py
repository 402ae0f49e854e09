"""SQuAD's forms and those of multiple choice: recognised, read exactly, and what is wrong told by its row."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.data.reading import RowError
from tasks.errors import StageError
from tasks.preflight.splits import rows_apart
from tasks.rows import SPLITS, load_split, rows, source_groups
from tasks.rows.canonical import text_of
from tasks.rows.formats import layout_of
from tasks.rows.nested import plain_records
from tests.runs import stage_run_in

CONTEXT = "Anna founded Berlow in 1204. Boris rules it."
ROW = {
    "context": CONTEXT,
    "question": "Who founded Berlow?",
    "answers": {"text": ["Anna"], "answer_start": [0]},
}


def read(record, **config):
    layout = layout_of("a.jsonl", list(record), RowsConfig(**config))
    return layout.row(("a.jsonl, row 7", record))


def answered(answers, **more):
    return read(ROW | {"answers": answers} | more)["answers"]


# Questions on a passage


def test_flat_questions_are_recognised_and_kept_as_they_are():
    assert read({"id": "5a", "title": "Berlow"} | ROW) == ROW


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "1204", "answer_start": 23}],
        {"text": "1204", "answer_start": 23},
        {"text": ["1204"], "answer_start": [23.0]},
        {"text": ["1204"]},
        "1204",
        ["1204"],
    ],
)
def test_each_form_of_an_answer_becomes_one(answers):
    assert answered(answers) == {"text": ["1204"], "answer_start": [23]}


@pytest.mark.parametrize("none", [[], None, "", {"text": [], "answer_start": []}])
def test_a_question_without_an_answer_has_none(none):
    assert answered(none) == {"text": [], "answer_start": []}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            {"text": ["Boris"], "answer_start": [28]},
            "row 7: the answer 'Boris' does not stand at its answer_start, 28, where the context has "
            "' Bori'; it stands at 29",
        ),
        ({"text": ["Clara"], "answer_start": [0]}, "the context has 'Anna '; it stands nowhere in it"),
        ({"text": ["Anna"], "answer_start": [-44]}, "the context has no character; it stands at 0"),
        ({"text": ["Anna"], "answer_start": [True]}, "should be a whole number, found a boolean"),
        ({"text": ["Anna"], "answer_start": []}, "has 1 texts and other than 1 answer_start"),
        ({"text": ["e"]}, "has no answer_start and stands 3 times in the context"),
        ([3], "an answer should be text of the context, found a number: 3"),
        (7, "should hold texts and offsets, found a number: 7"),
    ],
)
def test_a_wrong_answer_is_told_with_its_row(answers, why):
    with pytest.raises(RowError) as told:
        answered(answers)
    assert told.value.where == "a.jsonl, row 7"
    assert why in str(told.value)


def test_impossible_questions_and_their_answers_agree():
    assert answered([], is_impossible=True)["text"] == []
    with pytest.raises(RowError, match="'is_impossible' is true, and 'Anna' is given"):
        answered({"text": ["Anna"], "answer_start": [0]}, is_impossible=True)
    with pytest.raises(RowError, match="'is_impossible' is false, and there is no answer"):
        answered([], is_impossible=False)


def paragraph(number):
    """A passage of its own with three questions, the last of which cannot be answered."""
    name, year = f"{'bdfgklmnprst'[number]}elow", 1200 + number
    context = f"Anna founded {name} in {year}."
    found = [("Who", "Anna"), ("When", str(year))]
    qas = [
        {
            "id": f"{number}-{place}",
            "question": f"{word} founded {name}?",
            "answers": [{"text": text, "answer_start": context.index(text)}],
            "is_impossible": False,
        }
        for place, (word, text) in enumerate(found)
    ]
    none = {
        "id": f"{number}-2",
        "question": f"Who burnt {name} down?",
        "answers": [],
        "plausible_answers": [{"text": "Anna", "answer_start": 0}],
        "is_impossible": True,
    }
    return {"context": context, "qas": [*qas, none]}


def squad(count=12):
    paragraphs = [paragraph(number) for number in range(count)]
    articles = [{"title": f"Town {part}", "paragraphs": paragraphs[part::2]} for part in range(2)]
    return {"version": "v2.0", "data": articles}


def read_file(folder, document, name="train-v2.0.json", **config):
    source = folder / "source"
    source.mkdir()
    (source / name).write_text(json.dumps(document))
    run = stage_run_in(folder / "run")
    rows(RowsConfig(**config), run, source=source)
    return run, {split: load_split(run.out, split) for split in SPLITS}


@pytest.mark.parametrize("field", ["", "data"])
def test_squad_as_it_comes_is_split_by_passage(tmp_path, field):
    run, splits = read_file(tmp_path, squad(), field=field, train=0.7, validation=0.1)
    every = [row for members in splits.values() for row in members]
    assert len(every) == 36
    assert sum(not row["answers"]["text"] for row in every) == 12
    of = {split: {row["context"] for row in members} for split, members in splits.items()}
    assert all(of.values())
    assert len(set.union(*of.values())) == sum(map(len, of.values())) == 12
    assert all(row["source"] for row in splits["test"])
    assert [result.verdict for result in rows_apart(splits)] == ["passed"] * 3
    counts = json.loads((run.out / "rows.json").read_text())
    assert (counts["kind"], counts["formats"]) == ("questions", {"questions": 36})


def test_rows_under_a_key_are_read_as_datasets_does(tmp_path):
    flat = [
        {"context": each["context"], "question": asked["question"], "answers": asked["answers"]}
        for each in map(paragraph, range(6))
        for asked in each["qas"]
    ]
    _, splits = read_file(
        tmp_path, {"meta": {"rows": 1}, "inner": {"rows": flat}}, "a.json", field="inner.rows"
    )
    assert sum(map(len, splits.values())) == 18


def test_a_wrong_offset_of_squad_is_told_with_its_place(tmp_path):
    document = squad()
    document["data"][1]["paragraphs"][2]["qas"][1]["answers"][0]["answer_start"] = 3
    where = "train-v2.0.json, row 2, paragraph 3, question 2: the answer '1205' does not stand"
    with pytest.raises(StageError, match=where):
        read_file(tmp_path, document)


def test_wrong_nesting_is_set_aside_with_its_place(tmp_path):
    document = squad()
    document["data"][0]["paragraphs"][1]["qas"] = "none"
    document["data"][1]["paragraphs"] = document["data"][1]["paragraphs"][:4]
    run, splits = read_file(tmp_path, document, malformed="set-aside", train=0.7, validation=0.1)
    (aside,) = map(json.loads, (run.out / "set_aside.jsonl").read_text().splitlines())
    assert aside["where"] == "train-v2.0.json, row 1, paragraph 2"
    assert aside["why"] == "'qas' should be a list of objects, as in SQuAD; found text: none"
    assert sum(map(len, splits.values())) == 27


def test_a_tokenizer_learns_passage_and_question():
    assert text_of(ROW) == f"{CONTEXT}\nWho founded Berlow?"


def test_a_passage_is_a_source_however_many_questions_it_has():
    """Not a template, as what many other rows have in common is."""
    found = [ROW | {"id": number, "question": f"Who is number {number}?"} for number in range(60)]
    other = ROW | {"id": 60, "context": "Anna founded Corlow in 1204. Boris rules it."}
    assert source_groups([*found, other]) == [0] * 60 + [60]


# Multiple choice

CHOICES = ["a river", "a bird", "a king"]


@pytest.mark.parametrize(
    ("record", "prompt", "context", "answer"),
    [
        ({"prompt": "Elbe?", "choices": CHOICES, "label": 2}, "Elbe?", None, 2),
        ({"question": "Elbe?", "choices": CHOICES, "answer": 2, "subject": "places"}, "Elbe?", None, 2),
        (
            {"article": "On water.", "question": "Elbe?", "options": CHOICES, "answer": "C"},
            "Elbe?",
            "On water.",
            2,
        ),
        (
            {
                "id": "Q1",
                "question": "Elbe?",
                "choices": {"text": CHOICES, "label": ["1", "2", "3"]},
                "answerKey": "3",
            },
            "Elbe?",
            None,
            2,
        ),
        ({"question_stem": "Elbe?", "choices": CHOICES, "answerKey": "a king"}, "Elbe?", None, 2),
        ({"ctx": "The Elbe is", "endings": CHOICES, "label": "2", "ctx_a": "The"}, "The Elbe is", None, 2),
        (
            {
                "sent1": "The Elbe.",
                "sent2": "It is",
                "startphrase": "The Elbe. It is",
                **{f"ending{place}": choice for place, choice in enumerate(CHOICES)},
                "label": "2",
            },
            "The Elbe. It is",
            None,
            2,
        ),
        ({"goal": "Elbe?", "sol1": "a river", "sol2": "a bird", "label": 1}, "Elbe?", None, 1),
        (
            {"premise": "On water.", "choice1": CHOICES[0], "choice2": CHOICES[1], "question": "effect"}
            | {"label": 0},
            "effect",
            "On water.",
            0,
        ),
        ({"context": "On water.", "choices": CHOICES, "label": 0}, "On water.", None, 0),
    ],
    ids="plain mmlu race arc text hellaswag swag piqa copa context".split(),
)  # fmt: skip
def test_choices_are_recognised_by_the_names_they_go_by(record, prompt, context, answer):
    ((_, plain),) = plain_records([("a.jsonl, row 1", record)], pytest.fail)
    row = read(plain)
    assert row["prompt"] == prompt
    assert row.get("context") == context
    assert row["choices"] == CHOICES[: len(row["choices"])]
    assert row["answer"] == answer


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"label": 3}, "'label' is '3', which names none of the 3 choices; expected a place from 0 to 2"),
        ({"label": "D"}, "'label' is 'D', which names none of the 3 choices"),
        ({"label": -1}, "should say which choice is right, found a number: -1"),
        ({"label": None}, "should say which choice is right"),
        ({"label": "1", "choices": ["2", "3", "1"]}, "'1', which could name several of the 3 choices"),
        ({"label": 0, "choices": ["a", "b", "a"]}, "the right choice, 'a', stands there twice"),
        ({"choices": ["one"]}, 'should be a list of 2 choices or more, found a list: ["one"]'),
        ({"choices": ["one", " "]}, "choice 2 should be text"),
        ({"choices": {"text": CHOICES, "label": ["A", "A", "B"]}}, "expected one for each choice"),
    ],
)
def test_a_wrong_choice_is_told_with_its_row(changed, why):
    with pytest.raises(RowError) as told:
        read({"prompt": "Elbe?", "choices": CHOICES, "label": 2} | changed)
    assert told.value.where == "a.jsonl, row 7"
    assert why in str(told.value)


def test_choices_about_one_article_are_of_one_source():
    article = " ".join(f"word{number}" for number in range(20))
    found = [
        {"context": context, "prompt": prompt, "choices": CHOICES, "answer": 0}
        for context, prompt in ((article, "Who?"), (article, "When?"), ("Other.", "Where?"))
    ]
    assert source_groups(found) == [0, 0, 2]
