"""Reading records: what is wrong is named by file and row, and what is right comes through unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import reading
from tasks.data.reading import (
    json_lines,
    json_list,
    read_records,
    read_text,
    text_field,
    text_lines,
    text_pieces,
)
from tasks.errors import StageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def message_of(path):
    with pytest.raises(StageError) as raised:
        list(read_records(path))
    return str(raised.value)


# What comes through


@given(rows=st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.none()), min_size=1))
@pytest.mark.parametrize("escaped", [True, False])
def test_any_rows_are_read_as_they_were_written(tmp_path_factory, rows, escaped):
    folder = tmp_path_factory.mktemp("rows")
    texts = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    (folder / "a.json").write_text("[" + ",".join(texts) + "]", encoding="utf-8")
    (folder / "a.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    for name in ("a.json", "a.jsonl"):
        assert [row for _, row in read_records(folder / name)] == rows


def test_a_line_separator_inside_a_row_does_not_cut_it(file):
    path = file("a.jsonl", '{"t": "one\u2028two\u2029three\x85four"}\n{"t": "next"}\n')
    assert [row["t"] for _, row in read_records(path)] == ["one\u2028two\u2029three\x85four", "next"]


def test_rows_are_numbered_by_their_line_blank_ones_counted(file):
    path = file("a.jsonl", '{"n": 1}\r\n\r\n{"n": 2}')
    assert list(read_records(path)) == [("a.jsonl, row 1", {"n": 1}), ("a.jsonl, row 3", {"n": 2})]


def test_a_byte_order_mark_is_no_part_of_the_text(file):
    assert read_text(file("a.txt", b"\xef\xbb\xbftext")) == "text"


@given(text=TEXT.filter(str.strip) | st.text("\r\na é🙂", min_size=9).filter(str.strip))
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("block", [1, 2, 3, 5, 2**20])
def test_blocks_of_any_size_give_the_text_read_at_once(tmp_path_factory, block, mark, text):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(mark + text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        assert "".join(text_pieces(path)) == path.read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_row_may_span_blocks_and_a_block_may_hold_rows(file, monkeypatch, block):
    monkeypatch.setattr(reading, "BLOCK", block)
    rows = [{"t": "é" * n} for n in (0, 40, 1, 2, 3)]
    path = file("a.jsonl", "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert [row for _, row in read_records(path)] == rows


def test_the_one_list_that_an_object_holds_is_its_rows(file):
    path = file("a.json", '{"version": "1", "tags": ["x"], "data": [{"n": 1}, {"n": 2}]}')
    assert list(read_records(path)) == [("a.json, row 1", {"n": 1}), ("a.json, row 2", {"n": 2})]


def test_returns_are_kept_where_they_are_asked_for(file):
    path = file("a.txt", "one\rtwo\r\nthree\u2028four\n")
    assert list(text_lines(path)) == ["one", "two", "three\u2028four", ""]
    assert list(text_lines(path, keep_returns=True)) == ["one\rtwo\r", "three\u2028four", ""]


# What is refused


@pytest.mark.parametrize("read", [json_lines, json_list])
def test_a_row_that_is_no_object_can_be_passed_over(file, read):
    content = '{"n": 1}\n3\n{\n{"n": 4}' if read is json_lines else '[{"n": 1}, 3, null, {"n": 4}]'
    faults = []
    found = list(read(file("rows", content), "the.file", faults.append))
    assert found == [("the.file, row 1", {"n": 1}), ("the.file, row 4", {"n": 4})]
    assert [fault.where for fault in faults] == ["the.file, row 2", "the.file, row 3"]
    assert str(faults[0]) == "the.file, row 2: expected an object, found a number: 3"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_an_empty_file_is_named(file, name, content):
    with pytest.raises(StageError, match=f"^{name} is empty$"):
        read_text(file(name, content))


def test_text_that_is_not_utf8_is_named_with_its_byte_and_advice(file):
    message = message_of(file("a.jsonl", '{"t": "schön"}'.encode("latin1")))
    assert message.startswith("a.jsonl is not UTF-8: byte 10 is 0xf6.")
    assert "iconv" in message


@pytest.mark.parametrize("block", [1, 3, 4, 2**20])
@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"\xef\xbb\xbfab\xffcd", 5),
        (b"abcdefg\xe4\xb8", 7),
        ("\u4e2d\u6587".encode() + b"\xf0\x9f\x99!", 6),
        (b"\x80", 0),
    ],
    ids=["behind a mark", "half a character at the end", "half a character", "the first"],
)
def test_byte_that_is_not_utf8_is_named_by_its_place_in_the_file(file, monkeypatch, block, content, position):
    monkeypatch.setattr(reading, "BLOCK", block)
    with pytest.raises(StageError, match=f"byte {position} is 0x{content[position]:02x}\\."):
        read_text(file("a.txt", content))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", "[]", "a.json holds an empty list; expected at least one row"),
        (
            "a.json",
            '{"a": 1, "b": []}',
            "a.json: expected a list of objects, or an object that holds one such list, found an object that "
            "holds none. If each line is a row, name the file .jsonl",
        ),
        (
            "a.json",
            '{"a": [{}], "b": [{}]}',
            "a.json: expected a list of objects, or an object that holds one such list, found an object that "
            "holds 2 (a, b). Name one with field",
        ),
        ("a.json", "3", "a.json: expected a list of objects, found a number"),
        ("a.json", '[{"a": 1}, ["b"]]', 'a.json, row 2: expected an object, found a list: ["b"]'),
        ("a.json", '[{"a": 1}, null]', "a.json, row 2: expected an object, found null: null"),
        ("a.jsonl", '{"a": 1}\n"b"\n', "a.jsonl, row 2: expected an object, found text: b"),
        ("a.jsonl", '{"a": 1}\ntrue\n', "a.jsonl, row 2: expected an object, found a boolean: true"),
        ("a.csv", "a,b", "a.csv: expected .json or .jsonl, found .csv"),
        ("rows", "a,b", "rows: expected .json or .jsonl, found no ending"),
    ],
)
def test_what_is_no_object_is_named(file, name, content, expected):
    assert message_of(file(name, content)) == expected


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ('[{"a": 1}, {"a": 2}, {"a": }, {"a": 4}]', 3),
        ('[{"a": 1}, {"a": 2}, {"a": 3', 3),
        ('[{"a": 1}, {"a": "2\n"}, {"a": 3}]', 2),
        ('[{"a": 1}, {"a": 2} {"a": 3}]', 3),
        ('[{"a": 1}, {"a": 2}, ]', 3),
        ("[", 1),
        ("nothing", 1),
    ],
    ids=[
        "no value",
        "half a download",
        "raw newline",
        "no comma before the row",
        "comma at the end",
        "only a bracket",
        "no JSON",
    ],
)
def test_broken_json_in_the_middle_of_a_list_names_the_row(file, content, row):
    message = message_of(file("a.json", content))
    assert message.startswith("a.json is not valid JSON: ")
    assert f"(in row {row})" in message


def test_a_broken_line_names_its_row_and_shows_it_cut(file):
    message = message_of(file("a.jsonl", '{"a": 1}\n{"a": ' + "x" * 200 + "}\n"))
    assert message.startswith("a.jsonl, row 2: not valid JSON (Expecting value): ")
    assert message.endswith('{"a": ' + "x" * 71 + "...")


# Fields


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"input": "x", "id": 1}, "f, row 7: no 'output'; its fields are id, input"),
        ({}, "f, row 7: no 'output'; its fields are none"),
        ({"output": ""}, "f, row 7: 'output' is empty"),
        ({"output": " \n"}, "f, row 7: 'output' is empty"),
        ({"output": None}, "f, row 7: 'output' is empty"),
        ({"output": 3}, "f, row 7: 'output' should be text, found a number: 3"),
        ({"output": ["ü"]}, "f, row 7: 'output' should be text, found a list: [\"ü\"]"),
        ({"output": "\ud83d"}, "f, row 7: 'output' holds half of a character (a lone \\ud800 to \\udfff)"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_its_row(row, expected):
    with pytest.raises(StageError) as raised:
        text_field(("f, row 7", row), "output")
    assert str(raised.value) == expected


@pytest.mark.parametrize("row", [{}, {"input": ""}, {"input": None}])
def test_a_field_that_may_be_missing_is_empty_text(row):
    assert text_field(("f, row 1", row), "input", required=False) == ""


def test_a_field_that_may_be_missing_must_still_be_text():
    with pytest.raises(StageError, match="row 1: 'input' should be text, found an object"):
        text_field(("f, row 1", {"input": {}}), "input", required=False)


def test_the_first_name_that_is_there_is_taken():
    assert text_field(("f, row 1", {"completion": "b", "text": "a"}), "text", "completion") == "a"
    assert text_field(("f, row 1", {"completion": "b"}), "text", "completion") == "b"
