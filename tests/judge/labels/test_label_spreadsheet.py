"""Rows as a spreadsheet and back: nothing is a formula, and what is malformed is named with its line."""

import csv

import pytest

from tasks.errors import UsageError
from tasks.judge.labels.spreadsheet import COLUMNS, read_spreadsheet, write_spreadsheet
from tasks.judge.protocol.responses import ResponseRow, Turn

OF = "a1b2c3" * 10
DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '"=1', "'=1", " =1", "＝1"]


def row_of(index, response="Mine."):
    turns = (Turn("user", "Hello\nthere"),) if index == 1 else ()
    return ResponseRow(
        index, f"Question {index}?", "", 'Right; yes, "so"\nit is.', "", response, before=turns
    )


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "labels.csv"
    write_spreadsheet(path, OF, [row_of(index) for index in range(3)], {2: 5}, "ann")
    return path


def labelled(path, labels, delimiter=",", encoding="utf-8-sig", **changes):
    """The file as a spreadsheet would save it, with these labels in order."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = list(csv.reader(file))
    for row, label in zip(rows, labels, strict=True):
        row[1] = label
    for name, values in changes.items():
        for row, value in zip(rows, values, strict=False):
            row[COLUMNS.index(name)] = value
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def taken(path, known=(0, 1, 2)):
    return [(one.row, one.label, one.by) for one in read_spreadsheet(path, OF, known, "bob")]


def test_what_is_written_is_read_back(written):
    assert taken(written) == [(2, 5, "ann")]
    text = written.read_bytes()
    assert text.startswith(b"\xef\xbb\xbfrow,label,by,conversation,")
    assert b"user: Hello\nthere" in text


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_text_is_a_formula(tmp_path, text):
    write_spreadsheet(tmp_path / "x.csv", OF, [row_of(0, text)], {}, "=cmd")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        _, row = csv.reader(file)
    assert (row[-1], row[2]) == (f"'{text}", "'=cmd")


def test_a_harmless_text_stays_as_it_is(tmp_path):
    write_spreadsheet(tmp_path / "x.csv", OF, [row_of(0, "1 - 1 = 0")], {}, "ann")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1][-1] == "1 - 1 = 0"


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "utf-8"), ("\t", "utf-8-sig"), (",", "utf-8")])
def test_it_is_read_as_spreadsheets_save_it(written, delimiter, encoding):
    labelled(written, ["4", "3.0", ""], delimiter, encoding, by=["'=cmd", ""])
    assert taken(written) == [(0, 4, "=cmd"), (1, 3, "bob")]


@pytest.mark.parametrize(
    ("labels", "changes", "told"),
    [
        (["6", "1", "1"], {}, "line 2: the label '6' is no whole number from 0 to 5"),
        (["1", "good", "1"], {}, "line 4: the label 'good' is no"),
        (["1", "1", "1"], {"row": ["abc/0"]}, "line 2: row 'abc/0' is none of these responses"),
        (["1", "1", "1"], {"row": [f"{OF[:12]}/7"]}, "line 2: row 7 was not drawn"),
        (["1", "1", "1"], {"row": [f"{OF[:12]}/1"]}, "line 4: row 1 stands in line 2 already"),
        (["1", "1", "1"], {"by": ["x" * 300]}, "line 2: by has 300 characters"),
    ],
)
def test_malformed_lines_are_named_and_nothing_is_imported(written, labels, changes, told):
    labelled(written, labels, **changes)
    with pytest.raises(UsageError) as refused:
        taken(written)
    assert told in str(refused.value)
    assert str(refused.value).endswith("No label was taken from it")


def test_all_faults_are_told_at_once(written):
    labelled(written, ["6", "7", "8"])
    with pytest.raises(UsageError, match=r"line 2: .*; line 4: .*; line 7: "):
        taken(written)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; expected the columns row, label"),
        (b"row,by\n", "line 1: expected one column label; found row, by"),
        (b"row,label,label\n", "line 1: expected one column label"),
        (b"row,label\na/1\n", "line 2: 1 cells, expected 2"),
        (b"row,label\n\xff,1\n", "is not UTF-8: byte 10"),
        (b'row,label\n"a,1\n', "line 2: unexpected end of data"),
    ],
)
def test_a_file_that_is_none_of_ours_is_told_as_such(tmp_path, content, told):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        taken(path)
    assert told in str(refused.value)


def test_a_file_that_is_not_there_or_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        taken(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_spreadsheet(tmp_path / "none" / "x.csv", OF, [], {}, "ann")


def test_a_file_that_a_person_may_have_filled_in_stays(written):
    before = labelled(written, [1, 2, 3]).read_bytes()
    with pytest.raises(UsageError, match=f"is there already.* --from {written} takes them"):
        write_spreadsheet(written, OF, [row_of(0)], {}, "ann")
    assert written.read_bytes() == before
