"""Intervals are what the environment says, and a mistake in it is told."""

import pytest

from flows.process.intervals import Intervals, intervals
from tasks.errors import UsageError


def test_without_a_word_they_are_what_the_readme_says():
    found = intervals()
    assert found == Intervals()
    assert (found.silence, found.worker_away, found.prefect_away, found.mlflow_away) == (90, 60, 90, 30)


def test_one_is_set_by_its_name(monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_SECONDS_POLL", "0.25")
    assert intervals() == Intervals(poll=0.25)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("POLL", "often", "TOUCHSTONE_SECONDS_POLL=often: Input should be a valid number"),
        ("POLL", "0", "TOUCHSTONE_SECONDS_POLL=0: Input should be greater than 0"),
        ("GRACE", "inf", "TOUCHSTONE_SECONDS_GRACE=inf: Input should be a finite number"),
        ("SILENCE", "30", "TOUCHSTONE_SECONDS_SILENCE=30: Input should be greater than 30"),
        ("POL", "1", "TOUCHSTONE_SECONDS_POL: there is no such interval; there are TOUCHSTONE_SECONDS_POLL"),
    ],
)
def test_a_mistake_is_named(monkeypatch, name, value, told):
    monkeypatch.setenv(f"TOUCHSTONE_SECONDS_{name}", value)
    with pytest.raises(UsageError) as raised:
        intervals()
    assert str(raised.value).startswith(told)
