"""As many requests in flight as a server has slots, and few more, whatever the server's answers take."""

import heapq
import random

import pytest

from tasks.judge.ask.adaptive_concurrency import GROWTH, SPARE, AdaptiveConcurrency

FIRST, MOST = 4, 64


def limits(slots, count=600, spread=0.0, first=FIRST, most=MOST):
    """The limit after each of `count` answers of a server with so many slots and a queue.

    An answer takes one second of work, give or take `spread` of it.
    """
    drawn = random.Random(1)
    rule, seen, now = AdaptiveConcurrency(first, most), [], 0.0
    free = [0.0] * slots  # when each slot is free
    under_way = []  # (done, sent, sent with, worked)

    def send():
        worked = 1.0 + drawn.uniform(-spread, spread)
        done = max(now, heapq.heappop(free)) + worked
        heapq.heappush(free, done)
        heapq.heappush(under_way, (done, now, rule.limit, worked))

    while len(seen) < count:
        while len(under_way) < rule.limit:
            send()
        now, sent, sent_with, worked = heapq.heappop(under_way)
        rule.answered(sent_with, now - sent, worked)
        seen.append(rule.limit)
    return seen


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 8, 12, 16, 31])
def test_the_slots_of_a_server_are_found_and_hardly_more_is_sent(slots, spread):
    """Of many slots one that is missing is hardly seen: a few requests more than one wait."""
    found = limits(slots, spread=spread)
    assert max(found) <= GROWTH * (slots + 1)
    assert slots <= min(found[300:])
    assert max(found[300:]) <= slots + 3 + slots // SPARE


def test_server_with_more_slots_than_allowed_is_given_the_most():
    assert limits(100)[-1] == MOST


def test_a_number_that_is_told_stays():
    assert set(limits(1, first=3, most=3)) <= {2, 3}
    assert set(limits(8, first=3, most=3)) == {3}


def test_answers_that_tell_nothing_of_time_change_nothing():
    rule = AdaptiveConcurrency(4, 64)
    for _ in range(100):
        rule.answered(4, 0.0, 0.0)
    assert rule.limit == 4


def test_answers_of_before_the_last_change_do_not_count():
    rule = AdaptiveConcurrency(4, 64)
    for _ in range(100):
        rule.answered(2, 1.0, 1.0)
    assert rule.limit == 4


def test_an_overloaded_server_is_sent_half_and_never_nothing():
    rule, seen = AdaptiveConcurrency(8, 64), []
    for _ in range(5):
        rule.overloaded()
        seen.append(rule.limit)
    assert seen == [4, 2, 1, 1, 1]
