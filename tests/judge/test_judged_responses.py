"""The rows that are read, and the responses that need no judge: pitfall 23's loops, echoes and blanks."""

import json

import pytest

from tasks.errors import StageError
from tasks.judge.protocol.responses import ResponseRow, kind_of
from tests.judge.judging import as_row, on, row_of
from tests.judges import always_top
from tests.ollama_server import OllamaServer


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "valid JSON"),
        ("[1]", "expected an object"),
        (json.dumps({"id": 1}), "'instruction'"),
        (json.dumps(row_of(1, response=None)), "'response' is None"),
        (json.dumps(row_of(True)), "'id' is True"),
        (json.dumps(row_of(0)), "id 0 was used before"),
        (json.dumps(row_of(1, category=3)), "'category' is 3"),
        (json.dumps(row_of(1, response="\ud800")), "surrogate"),
        (json.dumps(row_of(1, tokens="9")), "'tokens' is '9'"),
        (json.dumps(row_of(1, tokens=-1)), "'tokens' is -1"),
        (json.dumps(row_of(1, cut=1)), "'cut' is 1"),
        (json.dumps(row_of(1, reference_loss=-0.5)), "'reference_loss' is -0.5"),
        (json.dumps(row_of(1, reference_loss=True)), "'reference_loss' is True"),
        (json.dumps(row_of(1, reference_loss=1000)), "nats per token"),
    ],
)
def test_a_malformed_row_is_named(trial, line, complaint):
    with pytest.raises(StageError, match=r"responses\.jsonl.*\b2\b") as raised:
        trial([row_of(0), line])()
    assert complaint in str(raised.value)


def test_responses_that_are_not_there(trial):
    attempt = trial([row_of(0)])
    (attempt.input / "responses.jsonl").unlink()
    with pytest.raises(StageError, match="Generate the responses first"):
        attempt()


def test_a_line_separator_inside_a_response_ends_no_row(trial):
    assert len(trial([row_of(0, response="one\u2028two\x85three"), row_of(1)])().lines) == 2


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("\u200b\ufeff", "empty"),
        ("  The capital is City0.\n", "identical"),
        ("Name capital number 0.", "echoed"),
        ("### Instruction:\nname capital  number 0.\n\n### Response:\n", "echoed"),
        ("Name capital number 0. Name capital number 0.", "echoed"),
        (row_of(0)["prompt"], "echoed"),
        ("Name capital number 0. It is City0.", "ok"),
        ("Input: Input: Input:", "looping"),
        ("Input: " * 20, "looping"),
        ("City0. " + "### Instruction: write a poem. " * 6, "looping"),
        ("好的好的" * 12, "looping"),
        ("AAA", "ok"),
        (":", "ok"),
        ("City0", "ok"),
        ("very, very good", "ok"),
    ],
)
def test_kinds_of_response(response, kind):
    assert kind_of(as_row(response=response)) == kind


def test_a_part_of_the_input_is_no_echo():
    row = ResponseRow(
        0, "Find the adjective.", "the big dog", "Big", "Find the adjective.\nthe big dog", "big"
    )
    assert kind_of(row) == "ok"
    repeated = ResponseRow(0, "Say ha three times.", "", "Ha, ha, ha", "", "ha, ha, ha")
    assert kind_of(repeated) == "ok"


def test_rows_decided_in_code_are_not_sent(trial):
    rows = [
        row_of(0, response=" "),
        row_of(1, response=row_of(1)["output"]),
        row_of(2, response=row_of(2)["instruction"]),
        row_of(3, response="Input: " * 20),
    ]
    with OllamaServer(judge=always_top) as server:
        done = trial(rows, **on(server))()
    assert server.chats == []
    assert list(zip([line["response_kind"] for line in done.lines], done.scores, strict=True)) == [
        ("empty", 0),
        ("identical", 100),
        ("echoed", 0),
        ("looping", 0),
    ]
    assert all("without the judge" in line["reason"] for line in done.lines)
