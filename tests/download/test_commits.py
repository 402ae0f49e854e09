"""Branches of the hub as commits: asked for at each call, and once where states are compared."""

import pytest

from tasks.download import commits
from tasks.download.commits import asked_once, commit_of


@pytest.fixture
def asked(monkeypatch):
    """What the hub was asked for; its branches move with every question."""
    found = []

    def ask(kind, name, revision):
        found.append((kind, name, revision))
        return f"{len(found):040x}"

    monkeypatch.setattr(commits, "ask_commit", ask)
    return found


def test_branch_is_asked_for_at_every_call(asked):
    assert commit_of("dataset", "owner/name", None) != commit_of("dataset", "owner/name", None)
    assert len(asked) == 2


def test_branch_stays_what_it_was_where_states_are_compared(asked):
    with asked_once():
        first = commit_of("dataset", "owner/name", None)
        assert commit_of("dataset", "owner/name", None) == first
        others = [("model", "owner/name", None), ("dataset", "owner/name", "v1")]
        assert len({first, *(commit_of(*other) for other in others)}) == 3
    assert len(asked) == 3
    assert commit_of("dataset", "owner/name", None) != first


def test_commit_is_not_asked_for(asked):
    assert commit_of("model", "owner/name", "a" * 40) == "a" * 40
    assert asked == []
