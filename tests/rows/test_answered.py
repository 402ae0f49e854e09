"""Responses that other tools wrote: their columns are found, and no prompt becomes its own right answer."""

import json

import pytest

from tasks.config import ResponsesConfig
from tasks.errors import StageError
from tasks.judge.protocol.responses import read_rows
from tasks.machine.json_files import read_lines
from tasks.rows.imported_responses import responses

BOOK = {"instruction": "Name it.", "input": "the capital", "output": "Paris", "model_response": "Rome"}


@pytest.fixture
def read(tmp_path, stage_run):
    """A function that reads files, given by their names and texts, and returns the rows."""

    def reading(files, **config):
        source = tmp_path / "source"
        source.mkdir()
        for name, text in files.items():
            (source / name).write_text(text, encoding="utf-8")
        run = stage_run()
        responses(ResponsesConfig(**config), run, source=source)
        read_rows(run.out)  # what the judge stage reads
        assert run.metrics == {"rows": len(read_lines(run.out / "responses.jsonl"))}
        return read_lines(run.out / "responses.jsonl")

    return reading


def lines(*records):
    return {"file.jsonl": "".join(json.dumps(record) + "\n" for record in records)}


def row(index=0, **changes):
    made = {"id": index, "instruction": "Name it.", "input": "", "output": "Paris", "prompt": ""}
    return made | {"response": "Rome"} | changes


def test_column_that_first_appears_after_100_records_is_read(read):
    bare = [{"instruction": "Name it.", "output": "Paris", "response": "Rome"}] * 120
    found = read(lines(*bare, BOOK | {"response": "Rome"}))
    assert found[-1] == row(120, input="the capital")


def test_pitfall_40_a_conversation_keeps_its_earlier_turns(read):
    turns = [
        {"role": role, "content": content}
        for role, content in (
            ("system", "Be brief."),
            ("user", "A capital?"),
            ("assistant", "Whose?"),
            ("user", "France's."),
            ("assistant", "Paris"),
        )
    ]
    (found,) = read(lines({"messages": turns, "response": "Rome"}))
    assert (found["messages"], found["instruction"], found["response"]) == (turns[:3], "France's.", "Rome")


def test_the_files_of_the_book(read):
    null = BOOK | {"instruction": "Name the other.", "model_response": None}
    found = read({"instruction-data-with-response.json": json.dumps([BOOK, null])})
    assert found == [
        row(input="the capital"),
        row(1, instruction="Name the other.", input="the capital", response=""),
    ]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"prompt": "Name it.", "predict": "Rome", "label": "Paris"}, id="LLaMA-Factory"),
        {"prompt": "Name it.", "completion": "Paris", "generated_text": "Rome"},
        {"question": "Name it.", "answer": "Paris", "model_output": "Rome"},
        {"instruction": "Name it.", "output": "Paris", "response": "Rome"},
        {"instruction": "Name it.", "output": "Paris", "prediction": "Rome", "text": "Name it. Paris"},
        pytest.param({"instruction": "Name it.", "response": "Paris", "model_response": "Rome"}, id="Dolly"),
        pytest.param(
            {
                "messages": [
                    {"role": "user", "content": "Name it."},
                    {"role": "assistant", "content": "Paris"},
                ],
                "response": "Rome",
            },
            id="chat",
        ),
    ],
)
def test_the_response_is_found_by_the_names_that_tools_give_it(read, record):
    assert read(lines(record)) == [row()]


def test_a_named_column_is_the_response_whatever_else_could_be(read):
    record = {"question": "Name it.", "gold": "Paris", "mine": "Rome", "model_response": "Oslo"}
    assert read(lines(record), response="mine", columns={"completion": "gold"}) == [row()]


def test_a_csv_with_an_empty_response_and_a_category(read):
    table = 'instruction,output,response,category\nName it.,Paris,"Rome\nor so",city\nName it.,Paris,,city\n'
    assert read({"file.csv": table}) == [
        row(category="city", response="Rome\nor so"),
        row(1, category="city", response=""),
    ]


def test_the_ids_of_several_files_follow_on(read):
    files = {"a.jsonl": json.dumps(BOOK), "b.jsonl": json.dumps(BOOK | {"input": "", "id": 7})}
    assert read(files) == [row(input="the capital"), row(1)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"prompt": "Name it.", "response": "Rome"},
            "no questions with their right answers beside the .* 're",
        ),
        ({"instruction": "Name it.", "response": "Rome"}, "no questions with their right .*are instruction;"),
        (
            {"text": "Name it, please.", "generated_text": "Rome"},
            "no questions with their right answers beside the responses in 'generated_text'; its columns are "
            "text, generated_text",
        ),
        ({"text": "Name it.", "label": "city", "prediction": "river"}, "holds classification rows"),
        ({"prompt": "Name it.", "completion": "Paris"}, "no column holds the responses; .*--response"),
        (BOOK | {"output": ""}, "row 1: 'output' is empty"),
        (BOOK | {"output": None}, "row 1: .*'output'"),
        (BOOK | {"model_response": [3]}, "row 1: 'model_response' should be text, found a list"),
        (BOOK | {"output": ""}, "take others out, or name the columns with --column"),
    ],
)
def test_prompts_and_responses_alone_are_refused(read, record, message):
    """Regression: of `text` and `generated_text` the text, which is the prompt, became the right answer."""
    with pytest.raises(StageError, match=message):
        read(lines(record))


def test_answers_that_are_numbers_are_read_as_they_are_written(read):
    (row,) = read(lines(BOOK | {"output": 4, "model_response": 0.5}))
    assert (row["output"], row["response"]) == ("4", "0.5")


def test_an_unknown_column_is_named_with_those_that_are_there(read):
    with pytest.raises(StageError, match="no column 'mine'; its columns are instruction, input, output, mod"):
        read(lines(BOOK), response="mine")


def test_a_column_that_no_format_has_cannot_be_mapped(read):
    with pytest.raises(StageError, match="maps 'answr'"):
        read(lines(BOOK), columns={"answr": "output"})


def test_questions_with_their_right_answers_need_no_response(read):
    record = {name: value for name, value in BOOK.items() if name != "model_response"}
    wanted = [row(input="the capital", response="")]
    assert read(lines(record), needs_response=False) == wanted


def test_response_is_not_shown_where_only_answers_are_wanted(read):
    assert read(lines(BOOK), needs_response=False) == [row(input="the capital", response="")]


def test_files_without_rows_are_refused(read):
    with pytest.raises(StageError):
        read({"file.jsonl": "\n"})


# Without right answers


@pytest.mark.parametrize("question", ["instruction", "prompt"])
def test_where_no_right_answer_is_needed_a_file_may_have_none(read, question):
    records = [{question: f"Greet {name}.", "response": f"Hello {name}"} for name in ("Ann", "Bob")]
    found = read(lines(*records), needs_reference=False)
    assert [(own["instruction"], own["output"], own["response"]) for own in found] == [
        ("Greet Ann.", "", "Hello Ann"),
        ("Greet Bob.", "", "Hello Bob"),
    ]


def test_right_answers_are_read_though_none_is_needed(read):
    (found,) = read(lines(BOOK), needs_reference=False)
    assert (found["output"], found["input"]) == ("Paris", "the capital")


def test_a_file_without_questions_is_told(read):
    with pytest.raises(StageError, match="holds no questions; its columns beside the responses are note"):
        read(lines({"note": "x", "response": "y"}), needs_reference=False)


def test_a_file_of_malformed_rows_alone_is_told_by_the_first(read):
    with pytest.raises(StageError, match=r"file.jsonl, row 1: not valid JSON"):
        read({"file.jsonl": "{\n"}, needs_reference=False)


def test_a_chat_that_ends_with_the_user_is_a_question(read):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    asked = {"messages": [*turns, {"role": "user", "content": "Who are you?"}]}
    answered = {"messages": turns}
    first, second = read(lines(asked, answered), needs_reference=False, needs_response=False)
    assert (first["instruction"], first["output"]) == ("Who are you?", "")
    assert first["messages"] == turns
    assert (second["instruction"], second["output"]) == ("Hi", "Hello")


def test_where_right_answers_are_needed_such_a_chat_is_refused(read):
    asked = {"messages": [{"role": "user", "content": "Who are you?"}]}
    with pytest.raises(StageError, match="the last turn is of the user"):
        read(lines(asked), needs_response=False)
