"""Formats of rows: recognised from the columns, made one form, and what is malformed is named."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.data.reading import RowError
from tasks.errors import StageError
from tasks.rows.formats import FORMATS, check_columns, layout_of

USER, ANSWER = {"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}
SYSTEM = {"role": "system", "content": "Be kind"}
COMPLETION = {"instruction": "Ask", "input": "", "output": "Answer"}
PREFERENCE = COMPLETION | {"chosen": "Answer", "rejected": "No"}
FUNCTION = {"type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"} | FUNCTION]}
RESULT = {"role": "tool", "content": "4", "tool_call_id": "1"}
TOOLS = [{"type": "function", "function": {"name": "look"}}]
LOOKED = {
    "instruction": "4",
    "input": "",
    "output": "Answer",
    "messages": [USER, CALL | {"content": ""}],
    "asked_by": {"role": "tool", "tool_call_id": "1"},
}
LATER = [{"role": "user", "content": "More"}, {"role": "assistant", "content": "Yes"}]
LONG = {"messages": [USER, ANSWER], "instruction": "More", "input": "", "output": "Yes"}


def row_of(record, **config):
    return layout_of("a.json", record, RowsConfig(**config)).row(("a.json, row 7", record))


def fault_in(record, **config):
    with pytest.raises(RowError) as raised:
        row_of(record, **config)
    assert raised.value.where == "a.json, row 7"
    return raised.value.why


def refusal(columns, /, **config):
    with pytest.raises(StageError) as raised:
        layout_of("a.csv", columns, RowsConfig(**config))
    return str(raised.value)


def sharegpt(*turns):
    return [{"from": speaker, "value": text} for speaker, text in turns]


HH = "\n\nHuman: Ask\n\nAssistant: Answer\n\nHuman: More\n\nAssistant:"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "Ask", "output": "Answer"}, COMPLETION),
        ({"instruction": "Ask", "input": None, "output": "Answer", "extra": [1]}, COMPLETION),
        (COMPLETION | {"input": "it", "category": "kind"}, COMPLETION | {"input": "it", "category": "kind"}),
        (COMPLETION | {"text": "Ask and Answer"}, COMPLETION),
        ({"instruction": "Ask", "context": "it", "response": "Answer"}, COMPLETION | {"input": "it"}),
        (COMPLETION | {"system": "Be kind"}, COMPLETION | {"messages": [SYSTEM]}),
        (COMPLETION | {"system": "", "history": []}, COMPLETION),
        (
            {"instruction": "More", "output": "Yes", "history": [["Ask", "Answer"]]},
            LONG,
        ),
        (
            {"instruction": "More", "output": "Yes", "history": '[["Ask", "Answer"]]', "system": "Be kind"},
            LONG | {"messages": [SYSTEM, USER, ANSWER]},
        ),
        ({"prompt": "Ask", "completion": "Answer"}, COMPLETION),
        ({"Question": "Ask", "Answer": "Answer"}, COMPLETION),
        ({"question": "Ask", "context": "it", "answer": "Answer"}, COMPLETION | {"input": "it"}),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, COMPLETION | {"messages": [SYSTEM]}),
        ({"messages": [USER, ANSWER]}, COMPLETION),
        ({"prompt": "Ask", "messages": [USER, ANSWER, *LATER]}, LONG),
        ({"messages": [SYSTEM, USER, ANSWER]}, COMPLETION | {"messages": [SYSTEM]}),
        (
            {"messages": [SYSTEM | {"content": ""}, USER, ANSWER], "system": "Be kind"},
            COMPLETION | {"messages": [SYSTEM]},
        ),
        ({"messages": [USER, ANSWER], "system": "Be kind"}, COMPLETION | {"messages": [SYSTEM]}),
        ({"messages": json.dumps([USER, ANSWER])}, COMPLETION),
        ({"conversations": sharegpt(("human", "Ask"), ("gpt", "Answer"))}, COMPLETION),
        (
            {"conversations": sharegpt(("system", "Be kind"), ("user", "Ask"), ("bot", "Answer"))},
            COMPLETION | {"messages": [SYSTEM]},
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in "Ask"]}, ANSWER]},
            COMPLETION,
        ),
        ({"messages": [USER | {"tool_calls": None}, ANSWER | {"name": None}]}, COMPLETION),
        ({"prompt": "Ask", "chosen": "Answer", "rejected": "No"}, PREFERENCE),
        ({"question": "Ask", "chosen": "Answer", "rejected": "No", "system": ""}, PREFERENCE),
        (PREFERENCE | {"output": "Own", "input": "it"}, PREFERENCE | {"output": "Own", "input": "it"}),
        (
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER | {"content": "No"}]},
            PREFERENCE,
        ),
        (
            {"prompt": "Ask", "chosen": [USER, ANSWER], "rejected": [USER, ANSWER | {"content": "No"}]},
            PREFERENCE,
        ),
        (
            {"chosen": [SYSTEM, USER, ANSWER], "rejected": [SYSTEM, USER, ANSWER | {"content": "No"}]},
            PREFERENCE | {"messages": [SYSTEM]},
        ),
        (
            {
                "conversations": sharegpt(("human", "Ask")),
                "chosen": {"from": "gpt", "value": "Answer"},
                "rejected": {"from": "gpt", "value": "No"},
            },
            PREFERENCE,
        ),
        (
            {"chosen": f"{HH} Yes", "rejected": f"{HH} No"},
            LONG | {"chosen": "Yes", "rejected": "No"},
        ),
        ({"messages": [USER, CALL, RESULT, ANSWER], "tools": TOOLS}, LOOKED | {"tools": TOOLS}),
        (
            {"messages": [USER, CALL, RESULT, ANSWER, *LATER]},
            LONG | {"messages": [USER, CALL | {"content": ""}, RESULT, ANSWER]},
        ),
        (
            {
                "conversations": sharegpt(
                    ("human", "Ask"),
                    ("function_call", '{"name": "look", "arguments": {"at": "it"}}'),
                    ("observation", "4"),
                    ("gpt", "Answer"),
                ),
                "tools": '[{"name": "look"}]',
            },
            LOOKED
            | {
                "messages": [USER, {"role": "assistant", "content": "", "tool_calls": [FUNCTION]}],
                "asked_by": {"role": "tool"},
                "tools": TOOLS,
            },
        ),
        ({"messages": [USER, ANSWER], "tools": []}, COMPLETION),
        ({"text": "Hi", "label": "ham"}, {"text": "Hi", "label": "ham"}),
        ({"Category": " ham", "Message": "Hi"}, {"text": "Hi", "label": "ham"}),
        ({"sentence": "Hi", "label": 0, "idx": 4}, {"text": "Hi", "label": "0"}),
        ({"text": "Hi", "label": 1.0}, {"text": "Hi", "label": "1"}),
        ({"review": "Hi", "sentiment": True}, {"text": "Hi", "label": "true"}),
        (
            {"text": "Hi", "message": "other", "label": "x", "category": "kind"},
            {"text": "Hi", "label": "x", "category": "kind"},
        ),
        ({"text": "Hi there"}, {"instruction": "", "input": "", "output": "Hi there", "plain": True}),
    ],
)
def test_a_record_of_each_format_becomes_one_form(record, expected):
    assert row_of(record) == expected


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"instruction": "Ask", "output": ""}, "'output' is empty"),
        ({"instruction": "Ask", "output": 42}, "'output' should be text, found a number: 42"),
        (
            {"instruction": "Ask", "output": "a", "input": ["x"]},
            "'input' should be text, found a list: [\"x\"]",
        ),
        (COMPLETION | {"category": 1}, "'category' should be text, found a number: 1"),
        ({"question": " ", "answer": "a"}, "'question' is empty"),
        (COMPLETION | {"history": [["Ask"]]}, "'history' should be a list of [user, assistant] pairs"),
        (COMPLETION | {"history": "none"}, "'history' should be a list of pairs, found: none"),
        ({"messages": []}, "'messages' holds no turn"),
        ({"messages": [SYSTEM | {"content": " "}]}, "'messages' holds no turn"),
        ({"messages": None}, "'messages' should be a list of turns, found null"),
        ({"messages": "Hello"}, "'messages' should be a list of turns, found text: Hello"),
        ({"messages": ["Hello"]}, "turn 1 of 'messages' should be an object, found text: Hello"),
        ({"messages": [USER]}, "the last turn is of the user; expected the assistant's, to be learned"),
        ({"messages": [SYSTEM]}, "the last turn is of the system; expected the assistant's"),
        ({"messages": [ANSWER]}, "turn 1 is of the assistant, expected the user: after at most one turn"),
        ({"messages": [USER, USER, ANSWER]}, "turn 2 is of the user, expected the assistant"),
        ({"messages": [SYSTEM, USER, ANSWER, ANSWER]}, "turn 4 is of the assistant, expected the user"),
        ({"messages": [USER, SYSTEM, ANSWER]}, "turn 2 is of the system, expected the assistant"),
        (
            {"messages": [{"role": "critic", "content": "4"}, ANSWER]},
            "turn 1 of 'messages' has the role 'critic'; expected system, user (human)",
        ),
        ({"messages": [RESULT, ANSWER]}, "turn 1 is of the tool, expected the user"),
        ({"messages": [USER, ANSWER, RESULT, ANSWER]}, "turn 3 is of the tool, expected the user"),
        ({"messages": [USER, CALL, ANSWER]}, "turn 3 is of the assistant, expected the tool"),
        ({"messages": [USER, CALL]}, "the last turn calls a tool; end the conversation with the reply"),
        (
            {"messages": [USER | CALL | {"role": "user"}, ANSWER]},
            "turn 1 of 'messages' calls a tool and",
        ),
        (
            {"conversations": sharegpt(("human", "Ask"), ("function_call", "look"), ("gpt", "Answer"))},
            "the call of turn 2 of 'conversations' should be JSON, found text: look",
        ),
        (
            {
                "messages": [
                    USER,
                    CALL | {"tool_calls": [{"name": "look", "arguments": "[1]"}]},
                    RESULT,
                    ANSWER,
                ]
            },
            "turn 2 of 'messages' calls 'look' with [1]; expected an object of arguments",
        ),
        ({"messages": [USER, ANSWER], "tools": "look"}, "'tools' should be JSON, found text: look"),
        (
            {"messages": [USER, ANSWER], "tools": {"name": "look"}},
            "'tools' should be a list of tools",
        ),
        ({"messages": [USER, ANSWER], "tools": [{}]}, "'tools' lists a tool without a name: {}"),
        ({"messages": [{"content": "x"}, ANSWER]}, "turn 1 of 'messages' has the role 'null'"),
        ({"messages": [{"role": ["user"], "content": "x"}, ANSWER]}, "turn 1 of 'messages' has the role"),
        (
            {"messages": [USER, ANSWER | {"content": None}]},
            "the content of turn 2 of 'messages' should be text",
        ),
        ({"messages": [USER, ANSWER | {"content": " "}]}, "turn 2 of 'messages' is empty"),
        ({"messages": [USER, ANSWER | {"content": "\ud83d"}]}, "turn 2 of 'messages' holds half of a"),
        (
            {"messages": [USER, ANSWER | {"tool_calls": [{"id": "1"}]}]},
            "turn 2 of 'messages' calls a tool without a name",
        ),
        (
            {"messages": [USER | {"content": [{"type": "image_url", "image_url": "x"}]}, ANSWER]},
            "the content of turn 1 of 'messages' holds more than text: one of type 'image_url'",
        ),
        ({"messages": [SYSTEM, USER, ANSWER], "system": "x"}, "the system speaks twice"),
        (PREFERENCE | {"rejected": "Answer "}, "'chosen' and 'rejected' are the same"),
        (PREFERENCE | {"rejected": ""}, "'rejected' is empty"),
        ({"chosen": "a", "rejected": "b"}, "there is no prompt, and 'chosen' is no conversation either"),
        (
            {"chosen": [ANSWER], "rejected": [LATER[1]]},
            "'chosen' is one turn, and no column holds the prompt",
        ),
        (
            {"chosen": [USER, ANSWER], "rejected": LATER},
            "'chosen' and 'rejected' answer different conversations; only the last turn may differ",
        ),
        ({"prompt": "Ask", "chosen": [USER], "rejected": [ANSWER]}, "turn 2 is of the user"),
        ({"text": "", "label": "a"}, "'text' is empty"),
        ({"text": "a", "label": None}, "'label' is empty; expected a label"),
        ({"text": "a", "label": " "}, "'label' is empty; expected a label"),
        (
            {"text": "a", "label": 0.5},
            "'label' should be a label (text or whole number), found a number: 0.5",
        ),
        (
            {"text": "a", "label": float("nan")},
            "'label' should be a label (text or whole number), found a number: NaN",
        ),
        ({"text": "a", "label": ["b"]}, "'label' should be a label (text or whole number), found a list"),
        ({"text": 3, "class": "b"}, "'text' should be text, found a number: 3"),
        ({"text": "Word."}, "the text has fewer than 2 words"),
        ({"text": "\ud83d and more"}, "'text' holds half of a character"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(record, why):
    assert why in fault_in(record)


# Recognising


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("instruction input output text", "alpaca"),
        ("instruction output chosen rejected", "preference"),
        ("prompt prompt_id messages", "chat"),
        ("text label", "classification"),
        ("text category", "classification"),
        ("text id", "text"),
        ("question answer", "prompt-completion"),
    ],
)
def test_a_format_is_recognised_from_the_columns(columns, expected):
    assert layout_of("a.csv", columns.split(), RowsConfig()).format == expected


def test_columns_that_no_format_has_are_listed_with_what_to_do():
    message = refusal(["v1", "v2"])
    assert message.startswith(
        "a.csv is in no format that is known: its columns are v1, v2; expected preference"
    )
    assert "rows.columns={text: body, label: kind}" in message
    assert "rows.header" in message


@pytest.mark.parametrize(
    ("columns", "config", "message"),
    [
        (
            "instruction output prompt completion",
            {},
            "a.csv fits the formats alpaca and prompt-completion: its columns are instruction, output, "
            "prompt, completion. Say which with rows.format.",
        ),
        (
            "review content label",
            {},
            "a.csv: 'review' and 'content' could each be the text of classification. Say which is, for "
            "example: rows.columns={text: review}",
        ),
        ("Text TEXT label", {}, "a.csv: 'Text' and 'TEXT' could each be the text of classification"),
        (
            "a b",
            {"format": "chat"},
            "a.csv: the format chat needs a column 'messages', and its columns are a, b.",
        ),
        (
            "a b",
            {"columns": {"text": "c"}},
            "a.csv has no column 'c', which rows.columns maps; its columns are a, b.",
        ),
        (
            "a b",
            {"columns": {"text": "a", "label": "b", "system": "b"}},
            "rows.columns maps 'system', which is no column of the format classification, which a.csv is in; "
            "expected text, label, text_pair, category.",
        ),
    ],
)
def test_columns_readable_in_two_ways_or_none_are_an_error(columns, config, message):
    assert refusal(columns.split(), **config).startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"columns": {"txt": "a"}},
            "rows.columns maps 'txt', which is no column of any format; expected chosen",
        ),
        (
            {"format": "text", "columns": {"label": "a"}},
            "rows.columns maps 'label', which is no column of the format text; expected text, category.",
        ),
    ],
)
def test_mapping_of_an_unknown_name_is_an_error_before_reading(config, message):
    with pytest.raises(StageError) as raised:
        check_columns(RowsConfig(**config))
    assert str(raised.value).startswith(message)


def test_columns_are_mapped_and_a_mapped_column_is_nothing_else():
    record = {"v1": "ham", "v2": "Hi", "text": "other"}
    assert row_of(record, columns={"text": "v2", "label": "v1"}) == {"text": "Hi", "label": "ham"}
    record = {"label": "Ask it", "text": "Answer"}
    assert row_of(record, columns={"prompt": "label", "completion": "text"}) == COMPLETION | {
        "instruction": "Ask it"
    }
    assert fault_in({"v1": "", "v2": "Hi"}, columns={"text": "v2", "label": "v1"}) == (
        "'v1' is empty; expected a label"
    )


def test_a_format_that_is_named_is_taken_whatever_else_fits():
    record = {"instruction": "Ask", "output": "Answer", "prompt": "Q", "completion": "A"}
    assert row_of(record, format="prompt-completion") == {"instruction": "Q", "input": "", "output": "A"}
    assert row_of({"text": "Hi there", "label": "x"}, format="text")["plain"] is True


def test_the_formats_are_those_that_can_be_configured():
    annotation = RowsConfig.model_fields["format"].annotation
    assert {"auto", *FORMATS} == {name for literal in annotation.__args__ for name in literal.__args__}
