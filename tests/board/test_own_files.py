"""Own files on the board: kept whole with a profile, and shown with what is wrong with them."""

import json

import pytest

from flows.board.own_files import document, take_in
from flows.profiles.load import load_profile
from tasks.errors import UsageError
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown

ROWS = [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}."} for n in range(80)]


@pytest.fixture
def asked(tmp_path):
    """Rows of which some are asked twice, and two cannot be read."""
    path = tmp_path / "asked.jsonl"
    broken = [{"question": 5, "answer": "x"}, {"question": "What?", "answer": None}]
    path.write_text("\n".join(map(json.dumps, [*ROWS, *ROWS[:20], *broken])), encoding="utf-8")
    return path


@pytest.fixture
def uploads(tmp_path):
    return tmp_path / "mlruns" / "uploads"


def test_own_files_are_kept_with_a_profile(uploads, asked, tmp_path):
    text = tmp_path / "story.txt"
    text.write_text("Once there was a fox.\n\nIt ran home.\n", encoding="utf-8")
    found = take_in(uploads, "mine", [asked, text], set_aside=True)
    assert found.profile == uploads / "mine" / "mine.yaml"
    profile = load_profile(str(found.profile))
    assert profile.instructions.sources[0].path == uploads / "mine" / "asked.jsonl"
    assert profile.corpus.sources[0].path == uploads / "mine" / "story.txt"
    assert profile.rows.malformed == "set-aside"
    assert [path.name for path in uploads.iterdir()] == ["mine"]


def test_own_files_tell_what_is_malformed_and_what_leaks(uploads, asked):
    found = take_in(uploads, "mine", [asked], set_aside=False)
    assert [row["where"] for row in found.malformed] == ["asked.jsonl, row 101", "asked.jsonl, row 102"]
    assert sum(found.counts["moved"].values()) > 0
    told = as_markdown(document(found))
    assert "2 malformed rows" in told
    assert "'question' should be text" in told
    assert "The profile stops at them" in told
    assert "asked what training rows ask" in told


@pytest.mark.parametrize("name", ["", "../up", "Mine", "a/b", "-x", "x" * 61])
def test_own_files_need_a_plain_name(uploads, asked, name):
    with pytest.raises(UsageError, match="is no name of a profile"):
        take_in(uploads, name, [asked], set_aside=False)
    assert not uploads.exists()


def test_own_files_of_one_name_are_told_apart(uploads, asked, tmp_path):
    other = tmp_path / "other" / asked.name
    other.parent.mkdir()
    other.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"two of the files are called asked\.jsonl"):
        take_in(uploads, "mine", [asked, other], set_aside=False)


def test_own_files_are_chosen_first(uploads):
    with pytest.raises(UsageError, match="choose files first"):
        take_in(uploads, "", [], set_aside=False)


def test_own_files_that_hold_nothing_leave_nothing(uploads, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="empty"):
        take_in(uploads, "mine", [empty], set_aside=False)
    assert list(uploads.iterdir()) == []


def test_own_files_take_no_name_twice(uploads, asked):
    take_in(uploads, "mine", [asked], set_aside=True)
    with pytest.raises(UsageError, match="under the name mine already"):
        take_in(uploads, "mine", [asked], set_aside=True)


def test_own_files_are_shown_as_text(uploads, tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    path = tmp_path / "<b>'x'.jsonl"
    rows = [row | {"answer": f"{hostile} {row['answer']}"} for row in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    page = as_html(document(take_in(uploads, "hostile", [path], set_aside=False)))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
