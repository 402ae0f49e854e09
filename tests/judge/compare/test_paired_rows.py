"""Which rows two models both answered: the same questions with the same right answers, whatever their ids."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UsageError
from tasks.judge.compare.pairs import paired
from tasks.judge.protocol.responses import ResponseRow, Turn


def rows(*questions, start=0, model=""):
    """Rows whose instruction, input and reference are three letters."""
    return [
        ResponseRow(start + index, question[0], question[1], question[2], "", f"{model}{index}")
        for index, question in enumerate(questions)
    ]


def ids(pairs):
    return [(pair.a.id, pair.b.id) for pair in pairs]


def test_rows_are_found_in_any_order_and_under_any_id():
    pairs = paired(rows("abc", "abd", "aec"), rows("aec", "abc", "abd", start=50), only_common=False)
    assert ids(pairs) == [(0, 51), (1, 52), (2, 50)]


def test_a_row_that_occurs_twice_is_paired_in_order():
    pairs = paired(rows("abc", "xyz", "abc"), rows("abc", "abc", "xyz"), only_common=False)
    assert ids(pairs) == [(0, 0), (1, 2), (2, 1)]


def test_same_words_after_another_conversation_are_another_row():
    (row,) = rows("abc")
    after = [replace(row, before=(Turn("system", text),)) for text in ("French", "Dutch", "French")]
    assert ids(paired(after[:1], after[2:], only_common=False)) == [(0, 0)]
    with pytest.raises(UsageError, match="no question with its right answer is in both"):
        paired(after[:1], after[1:2], only_common=False)


@pytest.mark.parametrize("other", ["xbc", "axc", "abx"])
def test_another_instruction_input_or_answer_is_another_row(other):
    with pytest.raises(UsageError, match="A has 2 rows and B 2, of which 1 are the same"):
        paired(rows("abc", "def"), rows(other, "def"), only_common=False)


@pytest.mark.parametrize(
    ("a", "b", "message", "common"),
    [
        (("abc", "def"), ("abc",), "A has 2 rows and B 1, of which 1 are the same.*--only-common", [(0, 0)]),
        (("abc",), ("def", "abc"), "A has 1 rows and B 2, of which 1 are the same.*--only-common", [(0, 1)]),
        (("abc", "abc"), ("abc",), "A has 2 rows and B 1, of which 1 are the same", [(0, 0)]),
        (("abc",), ("abc", "abc"), "A has 1 rows and B 2, of which 1 are the same", [(0, 0)]),
        (("abc", "abc", "def"), ("abc", "def", "def"), "A has 3 rows and B 3, of which 2", [(0, 0), (2, 1)]),
    ],
)
def test_rows_that_only_one_has_are_an_error_unless_left_out(a, b, message, common):
    with pytest.raises(UsageError, match=message):
        paired(rows(*a), rows(*b), only_common=False)
    assert ids(paired(rows(*a), rows(*b), only_common=True)) == common


@pytest.mark.parametrize("only_common", [False, True])
def test_nothing_in_common_is_an_error_in_any_case(only_common):
    with pytest.raises(UsageError, match="A has 1 rows and B 2, and no question"):
        paired(rows("abc"), rows("xyz", "xyy"), only_common=only_common)


questions = st.lists(st.sampled_from(["abc", "abd", "xbc", "xyz"]), max_size=8)


@given(a=questions, b=questions)
def test_no_row_is_paired_twice_nor_with_another_question(a, b):
    ours, theirs = rows(*a), rows(*b)
    common = sum(min(a.count(question), b.count(question)) for question in {*a})
    if not common:
        return
    pairs = paired(ours, theirs, only_common=True)
    assert len(pairs) == len({pair.a.id for pair in pairs}) == len({pair.b.id for pair in pairs}) == common
    for pair in pairs:
        assert a[pair.a.id] == b[pair.b.id]
