"""Votes as rows of preference, in the form that `tasks/rows/instruction_formats.py` reads."""

from collections.abc import Iterable

from tasks.judge.votes.store import Vote
from tasks.machine.json_files import Json


def preference_rows(votes: Iterable[Vote]) -> list[Json]:
    """A row a vote for one of two different answers to the same conversation, with who gave it.

    The others say nothing that can be trained on: neither answer was preferred, they are the same, or one of
    them is empty, or the two models had been told different things before.
    """
    return [_row(vote) for vote in votes if _is_preference(vote)]


def _is_preference(vote: Vote) -> bool:
    ours, theirs = (answer.strip() for answer in vote.exchange.answers)
    differ = bool(ours and theirs) and ours != theirs
    return vote.preferred in ("a", "b") and vote.exchange.is_shared and differ


def _row(vote: Vote) -> Json:
    exchange, chosen = vote.exchange, "ab".index(vote.preferred)
    return {
        "messages": [dict(turn) for turn in exchange.conversations[0]],
        "chosen": exchange.answers[chosen],
        "rejected": exchange.answers[1 - chosen],
        "chosen_by": vote.by,
        "chosen_at": vote.at,
        "chosen_model": exchange.models[chosen],
        "rejected_model": exchange.models[1 - chosen],
        "blind": exchange.blind,
    }
