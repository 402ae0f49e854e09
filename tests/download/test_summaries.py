"""The made reports: each is new, its summary follows from it, and the same seed makes the same."""

import re

import pytest

from tasks.data.duplicates import Groups, join_near_duplicates
from tasks.data.rewordings import join_rewordings
from tasks.makers.summaries import make_rows

COUNT = 400


@pytest.fixture(scope="module")
def rows():
    return make_rows(COUNT, 123)


def test_reports_are_made_by_the_seed_alone(rows):
    assert make_rows(COUNT, 123) == rows != make_rows(COUNT, 124)
    assert len(rows) == COUNT


def test_a_summary_says_what_its_report_says(rows):
    shape = re.compile(r"(\w+) of (\w+): the (\w+) (\w+) will be \w+ on (\w+) for (\d+) euros\.")
    for row in rows:
        found = shape.fullmatch(row["summary"]).groups()
        assert all(word in row["document"] for word in found), row
        assert len(row["summary"]) < len(row["document"])


def test_reports_name_days_and_prices_that_are_no_longer_true(rows):
    others = [
        row
        for row in rows
        if len(set(re.findall(r"\w+day", row["document"]))) > 1
        or len(set(re.findall(r"\d+ euros", row["document"]))) > 1
    ]
    assert len(others) > COUNT / 2


def test_no_two_reports_are_alike_by_the_rules_of_rows(rows):
    groups = Groups(len(rows))
    prompts = [(row["document"], "") for row in rows]
    join_near_duplicates(groups, prompts)
    join_rewordings(groups, prompts, [row["summary"] for row in rows])
    assert groups.smallest().tolist() == list(range(COUNT))


def test_more_reports_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr("tasks.makers.summaries.LAST", ["Adler"])
    monkeypatch.setattr("tasks.makers.summaries.THINGS", ["mill"])
    monkeypatch.setattr("tasks.makers.summaries.ADJECTIVES", ["old"])
    with pytest.raises(ValueError, match="there are only"):
        make_rows(COUNT, 1)
